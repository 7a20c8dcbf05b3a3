-- An open-loop client. Requests are due at fixed times, whatever the answers take; a request whose
-- turn comes while every connection waits is sent late, and its latency counts from when it was due (no
-- coordinated omission). LuaJIT, because neither Python nor wrk can keep such a schedule at 50 000 requests/s.
local ffi = require("ffi")

-- Send `plan.rate` requests/s for `plan.seconds` over `plan.connections` connections (slots 1 to n), then wait
-- at most `plan.drain` seconds for what is due. `kernel` has now() in seconds, send(slot), wait() -> how many
-- slots have something, ready(i) -> slot, receive(slot) -> bytes, state (1 answered, 0 more to come, -1 lost).
-- Returns a table; `latencies` and `waits` are doubles in seconds, from due and from sent to answered.
local function drive(kernel, plan)
    local total = math.floor(plan.rate * plan.seconds)
    local interval, slots = 1 / plan.rate, plan.connections
    local latencies, waits = ffi.new("double[?]", total), ffi.new("double[?]", total)
    local due, sent = ffi.new("double[?]", slots + 1), ffi.new("double[?]", slots + 1)
    -- Free slots in the order in which they became so.
    local free, head, idle = ffi.new("int[?]", slots), 0, slots
    for slot = 1, slots do free[slot - 1] = slot end
    local next, answered, lost, bytes, rested, alive = 0, 0, 0, 0, 0, slots
    local started = kernel.now()
    local now, stop, before, busy = started, started + plan.seconds + plan.drain, started, true
    while answered + lost < total and alive > 0 and now < stop do
        now = kernel.now()
        -- A turn in which nothing was due and nothing came was spinning.
        if not busy then rested = rested + now - before end
        before, busy = now, false
        while next < total and idle > 0 and started + next * interval <= now do
            local slot = free[head]
            head, idle = (head + 1) % slots, idle - 1
            due[slot], sent[slot] = started + next * interval, now
            kernel.send(slot)
            next, busy, now = next + 1, true, kernel.now()
        end
        for i = 1, kernel.wait() do
            local slot = kernel.ready(i)
            local got, state = kernel.receive(slot)
            bytes, busy = bytes + got, true
            if state == 1 then
                now = kernel.now()
                latencies[answered], waits[answered] = now - due[slot], now - sent[slot]
                answered = answered + 1
                free[(head + idle) % slots] = slot
                idle = idle + 1
            elseif state == -1 then
                lost, alive = lost + 1, alive - 1
            end
        end
    end
    return {
        asked = total, answered = answered, lost = lost, bytes = bytes, seconds = now - started,
        rested = rested, unsent = total - next, latencies = ffi.string(latencies, answered * 8),
        waits = ffi.string(waits, answered * 8),
    }
end

ffi.cdef [[
typedef struct { int16_t family; uint16_t port; uint32_t address; char zero[8]; } paced_address;
typedef struct { long seconds; long nanoseconds; } paced_time;
int socket(int, int, int);
int connect(int, const paced_address *, uint32_t);
int setsockopt(int, int, int, const void *, uint32_t);
long send(int, const void *, size_t, int);
long recv(int, void *, size_t, int);
int epoll_create1(int);
int epoll_ctl(int, int, int, void *);
int epoll_wait(int, void *, int, int);
int clock_gettime(int, paced_time *);
]]
-- The kernel packs it on x86-64 alone.
ffi.cdef("typedef struct { uint32_t events; uint32_t slot; uint32_t more; }"
    .. (ffi.arch == "x64" and "__attribute__((packed)) paced_event;" or "__attribute__((aligned(8))) paced_event;"))

local C = ffi.C
local AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY = 2, 1, 6, 1
local EPOLL_CTL_ADD, EPOLLIN, MSG_DONTWAIT, MSG_NOSIGNAL, CLOCK_MONOTONIC = 1, 1, 0x40, 0x4000, 1
local READ_BYTES, EVENTS, OK_BYTES = 2 ^ 18, 64, 12

-- The real kernel: `connections` connections to 127.0.0.1:`port` that send `request`, and take an answer of
-- `length` bytes that begins with "HTTP/1.1 200".
local function connect(port, connections, request, length)
    local epoll = C.epoll_create1(0)
    local sockets, rest = ffi.new("int[?]", connections + 1), ffi.new("double[?]", connections + 1)
    local one = ffi.new("int[1]", 1)
    local address = ffi.new("paced_address", AF_INET)
    address.port = bit.bor(bit.lshift(bit.band(port, 255), 8), bit.rshift(port, 8))
    address.address = ffi.abi("le") and 0x0100007f or 0x7f000001
    for slot = 1, connections do
        local fd = C.socket(AF_INET, SOCK_STREAM, 0)
        if fd < 0 or C.connect(fd, address, 16) ~= 0 then error("cannot connect", 0) end
        C.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, one, 4)
        local event = ffi.new("paced_event", EPOLLIN, slot)
        if C.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, event) ~= 0 then error("cannot watch a connection", 0) end
        sockets[slot] = fd
    end
    local text, size = ffi.new("char[?]", #request, request), #request
    local scratch, events = ffi.new("char[?]", READ_BYTES), ffi.new("paced_event[?]", EVENTS)
    local time, expected = ffi.new("paced_time"), "HTTP/1.1 200"
    local kernel = {}
    function kernel.now()
        C.clock_gettime(CLOCK_MONOTONIC, time)
        return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
    end
    function kernel.send(slot)
        rest[slot] = length
        C.send(sockets[slot], text, size, MSG_NOSIGNAL)
    end
    function kernel.wait() return C.epoll_wait(epoll, events, EVENTS, 0) end
    function kernel.ready(i) return events[i - 1].slot end
    function kernel.receive(slot)
        local got = tonumber(C.recv(sockets[slot], scratch, READ_BYTES, MSG_DONTWAIT))
        local first = rest[slot] == length
        if got <= 0 or got > rest[slot] or (first and got >= OK_BYTES and ffi.string(scratch, OK_BYTES) ~= expected) then
            -- Watched no more: EPOLL_CTL_DEL.
            C.epoll_ctl(epoll, 2, sockets[slot], nil)
            return 0, -1
        end
        rest[slot] = rest[slot] - got
        return got, rest[slot] == 0 and 1 or 0
    end
    return kernel
end

return { drive = drive, connect = connect }
