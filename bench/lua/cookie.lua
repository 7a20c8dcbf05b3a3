-- Another cookie in each request. The file holds one request whose last field is a cookie that is still open.
dofile(debug.getinfo(1, "S").source:match("@(.*/)") .. "done.lua")
local threads, start, at, number = 0, "", 0, 0
setup = function(thread)
    thread:set("number", threads)
    threads = threads + 1
end
init = function(arguments)
    start = io.open(arguments[1], "rb"):read("*a") .. arguments[2] .. "-" .. number .. "-"
end
request = function()
    at = at + 1
    return start .. at .. "\r\n\r\n"
end
