#!/usr/bin/env escript
%%! +P 4000000
%% Erlang as a contender: `escript contender.erl CASE DIVISOR fresh|warm`.  It measures once for
%% nothing, prints "ready", and then a value for each line it reads, as contender.py does.
-mode(compile).
-export([main/1, init/1, handle_call/3, handle_cast/2]).

main([Case, Divisor, Fresh]) ->
    Less = list_to_integer(Divisor),
    Fresh =:= "fresh" orelse alone(Case, Less),
    io:format("ready~n"),
    rounds(Case, Less).

rounds(Case, Less) ->
    case io:get_line("") of
        eof -> ok;
        _ -> io:format("~p~n", [float(alone(Case, Less))]), rounds(Case, Less)
    end.

%% In a process of its own: its heap is fresh, as in a program that does only this.
alone(Case, Less) ->
    Me = self(),
    spawn_link(fun() -> Me ! {value, value(Case, Less)} end),
    receive {value, Value} -> Value end.

value("ask", Less) ->
    {ok, Echo} = gen_server:start(?MODULE, 0, []),
    N = 300000 div Less,
    N / seconds(fun() -> repeat(N, fun(I) -> gen_server:call(Echo, I) end) end);
value("tell", Less) ->
    N = 300000 div Less,
    {ok, Counter} = gen_server:start(?MODULE, 0, []),
    N / seconds(fun() ->
        repeat(N, fun(I) -> gen_server:cast(Counter, I) end),
        N = gen_server:call(Counter, total, infinity)
    end);
value("ring", Less) ->
    Hops = 300000 div Less,
    Me = self(),
    First = spawn_link(fun() -> receive {following, Next} -> member(Next, Me) end end),
    Last = lists:foldl(
        fun(_, Next) -> spawn_link(fun() -> member(Next, Me) end) end,
        First, lists:seq(1, 502)),
    First ! {following, Last},
    Hops / seconds(fun() -> First ! Hops, receive arrived -> ok end end);
value("skynet", Less) -> skynet(100000, Less);
value("skynet-small", Less) -> skynet(10000, Less);
value("skynet-million", Less) -> skynet(1000000, Less);
value("spawn", Less) -> element(1, idle(100000 div Less));
value("memory", Less) -> element(2, idle(100000 div Less)).

%% ---- the server of ask and tell

init(Count) -> {ok, Count}.
handle_call(total, _, Count) -> {reply, Count, Count};
handle_call(Value, _, Count) -> {reply, Value, Count}.
handle_cast(_, Count) -> {noreply, Count + 1}.

%% ---- the others

member(Next, Me) ->
    receive
        0 -> Me ! arrived;
        Left -> Next ! Left - 1, member(Next, Me)
    end.

skynet(Leaves, Less) ->
    Size = case Less of 1 -> Leaves; _ -> 1000 end,
    Total = Size * (Size - 1) div 2,
    Me = self(),
    seconds(fun() ->
        spawn(fun() -> branch(0, Size, Me) end),
        receive {sum, Total} -> ok end
    end).

branch(Number, 1, Parent) -> Parent ! {sum, Number};
branch(Number, Size, Parent) ->
    Me = self(),
    Part = Size div 10,
    [spawn(fun() -> branch(Number + I * Part, Part, Me) end) || I <- lists:seq(0, 9)],
    Parent ! {sum, lists:sum([receive {sum, S} -> S end || _ <- lists:seq(1, 10)])}.

idle(Count) ->
    Before = resident(),
    Start = erlang:monotonic_time(nanosecond),
    Idle = [spawn(fun() -> receive quit -> ok end end) || _ <- lists:seq(1, Count)],
    Seconds = (erlang:monotonic_time(nanosecond) - Start) / 1.0e9,
    Bytes = (resident() - Before) / Count,
    [Pid ! quit || Pid <- Idle],
    {Count / Seconds, Bytes}.

resident() ->
    {ok, Text} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = string:lexemes(Text, " "),
    binary_to_integer(Pages) * 4096.

seconds(Function) ->
    Start = erlang:monotonic_time(nanosecond),
    Function(),
    (erlang:monotonic_time(nanosecond) - Start) / 1.0e9.

repeat(0, _) -> ok;
repeat(N, Function) -> Function(N), repeat(N - 1, Function).
