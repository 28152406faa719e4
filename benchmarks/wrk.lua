-- Sends the requests of a file at random. A line of it: method, path, header name, its value,
-- body, with tabs between. Prints what it counted as one line of JSON.
local requests = {}

function init(args)
  math.randomseed(20261123)
  for line in io.lines(args[1]) do
    local method, path, name, value, body =
      line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$")
    local headers = { Host = wrk.headers["Host"] }
    if name ~= "" then headers[name] = value end
    if body == "" then body = nil end
    requests[#requests + 1] = wrk.format(method, path, headers, body)
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %f, "median_ms": %f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
