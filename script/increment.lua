-- What wrk sends to count: wrk alone sends GET, which the increment call answers with 405.
--
--   wrk -t12 -c400 -d30s --latency -s script/increment.lua http://127.0.0.1:8080
--
-- A path in the URL is kept; without one the built-in counter total_games_played is incremented.
-- script/bench sets BENCH_METHOD (webdis takes GET) and BENCH_OUT, a file for the figures as JSON.

wrk.method = os.getenv("BENCH_METHOD") or "POST"
if wrk.method == "POST" then
  wrk.body = '{"value":1}'
  wrk.headers["Content-Type"] = "application/json"
end

function init(args)
  if wrk.path == "" or wrk.path == "/" then
    wrk.path = "/api/v1/counter/total_games_played/increment"
  end
  -- Formatted once: the generator shares the machine with the server.
  local formatted = wrk.format()
  request = function() return formatted end
end

function done(summary, latency, requests)
  local path = os.getenv("BENCH_OUT")
  if not path then return end
  local out = io.open(path, "w")
  local seconds = summary.duration / 1e6
  out:write(string.format(
    '{"requests":%d,"seconds":%.3f,"requests_per_s":%.1f,"p50_ms":%.3f,"p99_ms":%.3f,' ..
    '"p999_ms":%.3f,"max_ms":%.3f,"non_2xx":%d,"errors":%d}\n',
    summary.requests, seconds, summary.requests / seconds,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency:percentile(99.9) / 1000,
    latency.max / 1000, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
  out:close()
end
