-- wrk runs for a time, not for a number of requests: this ends it when $ITEMS responses have come.
-- Each connection may have a request in flight then, and wrk calls request() once before it begins.
local requests_left = tonumber(os.getenv("ITEMS")) + tonumber(os.getenv("CONNECTIONS")) + 1
local ffi = require("ffi")
ffi.cdef("int kill(int, int); int getpid(void);")
local request_bytes

function init()
   request_bytes = wrk.format()
end

function request()
   requests_left = requests_left - 1
   if requests_left == 0 then
      wrk.thread:stop()
      ffi.C.kill(ffi.C.getpid(), 2) -- the main thread sleeps
   end
   return request_bytes
end
