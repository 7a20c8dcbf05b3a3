-- What every script of wrk ends with: one JSON line, most fields of `Load` in load.py.
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{"seconds": %.6f, "requests": %d, "bytes": %.0f, "errors": %d, "p50_us": %.1f, "p99_us": %.1f}\n',
        summary.duration / 1e6, summary.requests, summary.bytes,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
