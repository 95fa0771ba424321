/* One of several threads leaves a blocking call on a connection; the others go on. */
#include "case.h"

static void *receive(void *about) {
    const struct link *link = about;
    char data[16];
    say_text("recv", data, recv(link->near, data, sizeof(data), 0));
    return NULL;
}

static void *receive_or_go(void *about) {
    const struct link *link = about;
    char data[16];
    say_text("the call that should block", data, recv(link->near, data, sizeof(data), 0));
    return NULL;
}

static void *wait_in_poll(void *about) {
    const struct link *link = about;
    await_events(link->near, POLLIN, -1);
    return NULL;
}

/* The first of two that are blocked in recv is cancelled; the second gets what comes. */
static void cancel_first_of_two(void) {
    struct link link = link_open();
    struct worker *first = work_asleep(receive_or_go, &link), *second = work_asleep(receive, &link);
    pthread_cancel(first->id);
    say_is("cancelled", is_over(first, 2000) && first->result == PTHREAD_CANCELED);
    far_send(&link, "hello", 5);
    say_is("the other recv ends", is_over(second, 2000));
    link_close(&link);
}

static void cancel_second_of_two(void) {
    struct link link = link_open();
    struct worker *first = work_asleep(receive, &link), *second = work_asleep(receive_or_go, &link);
    pthread_cancel(second->id);
    say_is("cancelled", is_over(second, 2000) && second->result == PTHREAD_CANCELED);
    far_send(&link, "hello", 5);
    say_is("the other recv ends", is_over(first, 2000));
    link_close(&link);
}

static void cancel_beside_poll(void) {
    struct link link = link_open();
    struct worker *first = work_asleep(receive_or_go, &link), *second = work_asleep(wait_in_poll, &link);
    pthread_cancel(first->id);
    say_is("cancelled", is_over(first, 2000) && first->result == PTHREAD_CANCELED);
    far_send(&link, "hello", 5);
    say_is("poll ends", is_over(second, 2000));
    receive(&link);
    link_close(&link);
}

/* A thread that does not want to be cancelled is not, and gets its bytes. */
static void *receive_uncancelled(void *about) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    receive(about);
    return about;
}

static void cancel_disabled(void) {
    struct link link = link_open();
    struct worker *worker = work_asleep(receive_uncancelled, &link);
    pthread_cancel(worker->id);
    far_send(&link, "hello", 5);
    say_is("recv ends", is_over(worker, 2000));
    say_is("cancelled", worker->result == PTHREAD_CANCELED);
    link_close(&link);
}

/* A pending cancellation acts in the next call, which takes nothing. */
static atomic_bool is_pending;

static bool is_set(void *about) {
    return *(atomic_bool *)about;
}

static void *receive_when_pending(void *about) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    await(is_set, &is_pending, 5000);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    return receive_or_go(about);
}

static void cancel_pending(void) {
    struct link link = link_open();
    is_pending = false;
    far_send(&link, "hello", 5);
    await_bytes(link.near, 5);
    struct worker *worker = work(receive_when_pending, &link);
    pthread_cancel(worker->id);
    is_pending = true;
    say_is("cancelled", is_over(worker, 2000) && worker->result == PTHREAD_CANCELED);
    receive(&link);
    link_close(&link);
}

CASES({"cancel_first_of_two", cancel_first_of_two}, {"cancel_second_of_two", cancel_second_of_two},
      {"cancel_beside_poll", cancel_beside_poll}, {"cancel_disabled", cancel_disabled},
      {"cancel_pending", cancel_pending})
