/* The operations that a program is made of, with the kinds of their arguments; program.py reads this list too. */

/* Descriptors and connections. An "entry" is a listener's address, noted by listen; a number below 0 is a bad address. */
OP(socket, "slot family sockflags")
OP(bind, "slot entry")
OP(listen, "slot count entry")
OP(connect, "slot entry")
OP(accept, "slot slot sockflags how")
OP(acceptany, "slot slot slot")
OP(close, "slot how")
OP(dup, "slot slot how")
OP(shutdown, "slot count")
OP(file, "slot how")
OP(give, "slot")
OP(take, "slot")

/* Bytes. */
OP(send, "slot count msg how")
OP(recv, "slot count msg how")
OP(sendall, "slot count")
OP(recvall, "slot count")
OP(fill, "slot count")
OP(drain, "slot count")
OP(badio, "slot how")

/* Readiness and descriptors' state. */
OP(poll, "count how slot events slot events slot events")
OP(epoll, "slot how")
OP(epollctl, "slot how slot events")
OP(epollwait, "slot count count how")
OP(ioctl, "slot how count")
OP(fcntl, "slot how count")

/* Options and names. */
OP(getsockopt, "slot option count")
OP(setsockopt, "slot option count count")
OP(name, "slot how")

/* Processes and signals; the conductor itself does the last two. */
OP(fork, "actor how")
OP(exit, "count")
OP(cancel, "actor")
OP(kill, "actor signal")
OP(await, "actor")
