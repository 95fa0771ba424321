/* The exchange of direct connections under libFuzzer: programs connect, send all kinds of requests and go.
 *
 * Build and run: see tests/fuzz/libfuzzer/__init__.py. An input is a row of steps of a few bytes each. At its end
 * as many descriptors are open as before. Memory is the address sanitizer's to watch.
 */

#include "exchange/rounds.h"

#include <assert.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { HOMES = 3, PROGRAMS = 8, KINDS = 9, OFFER_NS = 200000, HIGHEST = 1024 };

static int listeners[HOMES], probe, kinds[KINDS], doorbell, region, connecting, accepted;
static struct sockaddr_un names[HOMES];
static socklen_t name_lengths[HOMES];
static struct vn_address client_address, server_address;
static uint64_t cookie;
static struct vn_table *table;
static struct exchange *exchange;
static struct exchange_namespace *homes[HOMES];
static int programs[PROGRAMS];
static const uint8_t *at, *end;

static unsigned choice(unsigned count) { return at < end ? *at++ % count : 0; }

static void step(int times) {
    struct epoll_event event;
    for (int i = 0; i < times; i++) {
        int count = epoll_wait(exchange->poll, &event, 1, 0);
        if (count == 1)
            exchange_handle(exchange, event.data.ptr);
        exchange_refuse(exchange, count == 0);
        exchange_expire(exchange);
        exchange_end_rest(exchange);
        exchange_free_ended(exchange);
        if (count == 0)
            return;
    }
}

static struct vn_address some_address(void) {
    static const uint16_t families[] = {AF_INET, AF_INET6, 0, AF_UNIX, 0xffff};
    struct vn_address address = choice(2) ? client_address : server_address;
    switch (choice(8)) {
    case 0:
        address.family = families[choice(5)];
        break;
    case 1:
        address.ip[choice(16)] = (uint8_t)choice(256);
        break;
    case 2:
        address.port = (uint16_t)choice(256);
        break;
    case 3:
        memcpy(address.ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1", 16);
        address.family = AF_INET6;
        break;
    default:
        break;
    }
    return address;
}

/* Sends a request, or a part of one, with some descriptors. */
static void send_request(int fd) {
    union { struct cmsghdr header; char room[CMSG_SPACE(EXCHANGE_MOST_FDS * sizeof(int))]; } control;
    struct { struct vn_request request; char surplus[8]; } data = {0};
    int fds[EXCHANGE_MOST_FDS], count = 0;
    bool right = choice(4) != 0;
    static const uint32_t ops[] = {VN_OFFER, VN_OFFER, VN_TAKE, VN_TAKE, VN_FORGET, VN_HELLO, 0, 77};
    data.request.version = choice(16) == 15 ? choice(256) : VN_SOCKETS_VERSION;
    data.request.op = ops[choice(8)];
    data.request.source = right ? client_address : some_address();
    data.request.target = right ? server_address : some_address();
    if (data.request.op == VN_OFFER)
        fds[count++] = doorbell, fds[count++] = region, fds[count++] = choice(8) ? connecting : kinds[choice(KINDS)];
    else if (data.request.op == VN_TAKE)
        fds[count++] = choice(8) ? accepted : kinds[choice(KINDS)];
    if (choice(8) == 7)
        count = (int)choice(count + 1);
    for (unsigned more = choice(16) == 15 ? choice(250) : choice(8) == 7; more > 0 && count < EXCHANGE_MOST_FDS; more--)
        fds[count++] = kinds[choice(KINDS)];
    size_t length = choice(16) == 15 ? choice(sizeof(data)) : sizeof(data.request);
    struct iovec iov = {&data, length};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count > 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, (size_t)count * sizeof(int));
    }
    sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Takes an answer, which is one of the few that there are. */
static void hear(int fd) {
    union { struct cmsghdr header; char room[CMSG_SPACE(2 * sizeof(int))]; } control;
    struct vn_reply reply;
    struct iovec iov = {&reply, sizeof(reply)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got <= 0)
        return;
    assert(got == sizeof(reply) && reply.version == VN_SOCKETS_VERSION && !(message.msg_flags & MSG_CTRUNC));
    for (struct cmsghdr *each = CMSG_FIRSTHDR(&message); each != NULL; each = CMSG_NXTHDR(&message, each)) {
        int fds[2];
        assert(reply.reason == VN_REASON_direct && each->cmsg_len == CMSG_LEN(sizeof(fds)));
        memcpy(fds, CMSG_DATA(each), sizeof(fds));
        close(fds[0]);
        close(fds[1]);
    }
}

static void settle(void) {
    int count = (int)choice(6);
    struct exchange_entry *entries = calloc((size_t)count + 1, sizeof(*entries));
    for (int i = 0; i < count; i++) {
        entries[i].address = some_address();
        entries[i].index = choice(8) == 7 ? choice(256) * 257 : choice(HOMES);
    }
    free(exchange_settle(exchange, entries, count));
}

static void toggle(unsigned which) {
    if (homes[which] != NULL) {
        exchange_close(exchange, homes[which]);
        homes[which] = NULL;
    } else {
        homes[which] = exchange_open(exchange, listeners[which], probe, cookie, which + 1);
        assert(homes[which] != NULL);
    }
}

static void take_step(void) {
    unsigned which = choice(PROGRAMS), kind = choice(12);
    if (programs[which] < 0) {
        unsigned home = choice(HOMES);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&names[home], name_lengths[home]) == 0)
            programs[which] = fd;
        else
            close(fd);
    } else if (kind <= 6) {
        send_request(programs[which]);
    } else if (kind == 7) {
        hear(programs[which]);
    } else if (kind == 8) {
        close(programs[which]);
        programs[which] = -1;
    } else if (kind == 9) {
        settle();
    } else if (kind == 10) {
        toggle(choice(HOMES));
    } else if (homes[which % HOMES] != NULL) {
        exchange_renumber(exchange, homes[which % HOMES], choice(4) == 3 ? VN_TABLE_PORTS + 1 : choice(5));
    }
    step((int)choice(4));
}

/* Who has waited in a listener is taken in by nobody: the next input is not to find it. */
static void empty_listeners(void) {
    for (int i = 0; i < HOMES; i++)
        for (int fd; (fd = accept4(listeners[i], NULL, NULL, SOCK_CLOEXEC)) >= 0;)
            close(fd);
}

static void sum_up(void) {
    int clients = 0, made = 0, waiting = 0;
    for (int i = 0; i < HOMES; i++)
        if (homes[i] != NULL) {
            clients += homes[i]->client_count;
            made += homes[i]->offers_made;
            waiting += homes[i]->offers_waiting;
        }
    assert(clients == exchange->client_count && waiting == exchange->offer_count && made <= exchange->offer_count);
}

static struct vn_address address_of(int fd, bool remote) {
    struct exchange_names found;
    assert(exchange_tcp_names(fd, &found));
    cookie = found.cookie;
    return remote ? found.remote : found.local;
}

static void bind_marker(const struct vn_address *where) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0), length;
    length = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, VN_LISTENER_NAME, where->port, "127.0.0.1");
    assert(bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) == 0);
}

/* A TCP connection over the loopback, and one descriptor of each kind. */
static void make_descriptors(void) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(name);
    int listener = socket(AF_INET, SOCK_STREAM, 0), pair[2], pipes[2];
    assert(bind(listener, (struct sockaddr *)&name, length) == 0 && listen(listener, 1) == 0);
    getsockname(listener, (struct sockaddr *)&name, &length);
    connecting = socket(AF_INET, SOCK_STREAM, 0);
    assert(connect(connecting, (struct sockaddr *)&name, length) == 0);
    accepted = accept(listener, NULL, NULL);
    client_address = address_of(connecting, false);
    server_address = address_of(connecting, true);
    bind_marker(&server_address);
    assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(pipes) == 0);
    doorbell = pair[0];
    region = memfd_create("region", MFD_ALLOW_SEALING);
    assert(ftruncate(region, VN_REGION_BYTES) == 0 && fcntl(region, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    int made[KINDS] = {listener, connecting, pair[1], pipes[0], pipes[1], memfd_create("plain", 0), eventfd(0, 0),
                       open("/dev/null", O_RDWR), socket(AF_INET6, SOCK_DGRAM, 0)};
    memcpy(kinds, made, sizeof(kinds));
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    make_descriptors();
    probe = socket(AF_UNIX, SOCK_DGRAM, 0);
    for (int i = 0; i < HOMES; i++) {
        sa_family_t any = AF_UNIX;     /* the kernel chooses an abstract name */
        listeners[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
        assert(bind(listeners[i], (struct sockaddr *)&any, sizeof(any)) == 0 && listen(listeners[i], 64) == 0);
        name_lengths[i] = sizeof(names[i]);
        getsockname(listeners[i], (struct sockaddr *)&names[i], &name_lengths[i]);
    }
    return 0;
}

static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < HIGHEST; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int before = open_descriptors();
    at = data;
    end = data + size;
    exchange = exchange_new(table, OFFER_NS, 64, 4096);
    for (unsigned i = 0; i < HOMES; i++)
        toggle(i);
    memset(programs, 0xff, sizeof(programs));
    struct exchange_entry *entries = calloc(1, sizeof(*entries));
    entries->address = client_address;
    free(exchange_settle(exchange, entries, 1));
    while (at < end) {
        take_step();
        sum_up();
    }
    for (int i = 0; i < PROGRAMS; i++)
        if (programs[i] >= 0)
            close(programs[i]);
    step(64);
    exchange_free(exchange);
    memset(homes, 0, sizeof(homes));
    empty_listeners();
    while (atomic_load(&fd_reaper_all) > 0)
        sched_yield();
    assert(open_descriptors() == before);
    return 0;
}
