/* The stream program's writing and reading: by every call that there is, in pieces of random sizes. */
#include "stream.h"

#include <sys/ioctl.h>
#include <sys/uio.h>

void broken(struct stream *s, const char *what)
{
    int error = errno;
    fprintf(stderr, "%s seed %llu connection %d: %s (written %llu, read %llu; last error: %s)\n", s->name,
            (unsigned long long)s->seed, s->number, what, (unsigned long long)s->written,
            (unsigned long long)s->read, strerror(error));
    fflush(NULL);
    _exit(1);
}

unsigned char *content_of(uint64_t seed)
{
    unsigned char *content = malloc(PERIOD + LARGEST + 8);
    for (unsigned i = 0; i < PERIOD; i += 8) {
        uint64_t word = next(&seed);
        memcpy(content + i, &word, 8);
    }
    memcpy(content + PERIOD, content, LARGEST);
    return content;
}

/* As many small pieces as large ones. */
static size_t piece(struct stream *s, uint64_t left)
{
    size_t size = 1 + below(&s->chance, 1ull << (1 + below(&s->chance, 18)));
    return size < left ? size : left;
}

/* Divides a piece into three, some of which may be empty. */
static void divide(struct stream *s, struct iovec *parts, unsigned char *data, size_t size)
{
    size_t first = below(&s->chance, size + 1), second = below(&s->chance, size - first + 1);
    parts[0] = (struct iovec){data, first};
    parts[1] = (struct iovec){data + first, second};
    parts[2] = (struct iovec){data + first + second, size - first - second};
}

int write_some(struct stream *s, int dont_wait)
{
    struct iovec parts[3];
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    unsigned char *data = s->out + s->written % PERIOD;
    size_t size = piece(s, s->total - s->written);
    int flags = MSG_NOSIGNAL | (dont_wait ? MSG_DONTWAIT : 0);
    ssize_t done;
    divide(s, parts, data, size);
    switch (below(&s->chance, dont_wait ? 4 : 6)) {
    case 0: done = send(s->fd, data, size, flags); break;
    case 1: done = sendmsg(s->fd, &message, flags); break;
    case 2: done = sendto(s->fd, data, size, flags, NULL, 0); break;
    case 3: done = send(s->fd, data, size, flags | MSG_MORE); break;
    case 4: done = write(s->fd, data, size); break;
    default: done = writev(s->fd, parts, 3);
    }
    if (done < 0 && dont_wait && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (done <= 0 || (size_t)done > size)
        broken(s, "writing failed");
    s->written += done;
    return 1;
}

void finish_writing(struct stream *s)
{
    if (shutdown(s->fd, SHUT_WR))
        broken(s, "shutdown failed");
}

static void check(struct stream *s, const unsigned char *data, size_t size, uint64_t position)
{
    if (position + size > s->total)
        broken(s, "more came than was sent");
    if (!memcmp(data, s->in + position % PERIOD, size))
        return;
    while (*data == s->in[position % PERIOD])
        data++, position++;
    fprintf(stderr, "the first wrong byte is at %llu\n", (unsigned long long)position);
    broken(s, "wrong content");
}

int read_some(struct stream *s, int dont_wait)
{
    if (!s->buffer)
        s->buffer = malloc(LARGEST);
    struct iovec parts[3];
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    size_t size = piece(s, LARGEST);
    int flags = dont_wait ? MSG_DONTWAIT : 0, waiting = 0;
    ssize_t done;
    divide(s, parts, s->buffer, size);
    switch (below(&s->chance, dont_wait ? 5 : 8)) {
    case 0: done = recv(s->fd, s->buffer, size, flags); break;
    case 1: done = recvmsg(s->fd, &message, flags); break;
    case 2: done = recvfrom(s->fd, s->buffer, size, flags, NULL, NULL); break;
    case 3: /* what was only looked at comes again */
        done = recv(s->fd, s->buffer, size, flags | MSG_PEEK);
        if (done > 0) {
            check(s, s->buffer, done, s->read);
            done = recv(s->fd, s->buffer, size = done, flags);
            if (done <= 0)
                broken(s, "what was there is gone");
        }
        break;
    case 4: /* what is said to be there is there */
        if (ioctl(s->fd, FIONREAD, &waiting))
            broken(s, "FIONREAD failed");
        done = recv(s->fd, s->buffer, waiting > 0 && (size_t)waiting < size ? (size = waiting) : size, flags);
        if (waiting > 0 && done != (ssize_t)size)
            broken(s, "less is there than FIONREAD said");
        break;
    case 5: done = read(s->fd, s->buffer, size); break;
    case 6: done = readv(s->fd, parts, 3); break;
    default: /* all that was asked for, but at the end of the stream */
        done = recv(s->fd, s->buffer, size, MSG_WAITALL);
        if (done >= 0 && (size_t)done < size && s->read + done < s->total)
            broken(s, "MSG_WAITALL gave less");
    }
    if (done < 0 && dont_wait && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (done < 0 || (size_t)done > size)
        broken(s, "reading failed");
    if (!done && s->read < s->total)
        broken(s, "the stream ended too early");
    check(s, s->buffer, done, s->read);
    s->read += done;
    s->ended = !done;
    return 1;
}
