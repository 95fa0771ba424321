%% gen_tcp at both ends: an echo server with a process for each connection, and clients: echo.escript KIND HOST PORT.
main(["serve", Host, Port]) ->
    {ok, Address} = inet:parse_address(Host),
    Options = [binary, {ip, Address}, {active, false}, {reuseaddr, true}, {backlog, 128}],
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), Options),
    accept(Listener);
main(["hold", Host, Port]) ->
    {ok, Socket} = connect(Host, Port),
    ok = gen_tcp:send(Socket, <<"x">>),
    {ok, <<"x">>} = gen_tcp:recv(Socket, 1),
    io:format("held~n"),
    gen_tcp:recv(Socket, 0);
main(["ask", Host, Port]) ->
    Self = self(),
    Numbers = lists:seq(1, 30),
    [spawn_link(fun() -> exchange(Self, Host, Port, N) end) || N <- Numbers],
    [receive {done, N} -> ok end || N <- Numbers],
    io:format("all right~n").

connect(Host, Port) ->
    {ok, Address} = inet:parse_address(Host),
    gen_tcp:connect(Address, list_to_integer(Port), [binary, {active, false}], 5000).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Pid = spawn(fun() -> receive go -> echo(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! go,
    accept(Listener).

echo(Socket) ->
    inet:setopts(Socket, [{active, once}]),
    receive
        {tcp, Socket, Data} -> gen_tcp:send(Socket, Data), echo(Socket);
        {tcp_closed, Socket} -> ok;
        {tcp_error, Socket, _} -> ok
    end.

exchange(Parent, Host, Port, N) ->
    {ok, Socket} = connect(Host, Port),
    Body = binary:copy(integer_to_binary(N), 30000 + N * 100),
    spawn_link(fun() -> ok = gen_tcp:send(Socket, Body) end),
    {ok, Body} = gen_tcp:recv(Socket, byte_size(Body), 8000),
    gen_tcp:close(Socket),
    Parent ! {done, N}.
