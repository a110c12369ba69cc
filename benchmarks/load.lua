-- Sends the bodies of a file, one a line, in turn; writes one line of JSON with counts and microseconds at the end.
-- Usage: wrk -t1 -cN -dNs -s benchmarks/load.lua ADDRESS -- FILE

local requests, sent = {}, 0

function init(arguments)
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", "/v1/chat/completions", { ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end

function done(summary, latency, rates)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  local form = '{"requests":%d,"microseconds":%d,"errors":%d,"p50":%d,"p95":%d,"p99":%d,"longest":%d}\n'
  io.write(string.format(form, summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max))
end
