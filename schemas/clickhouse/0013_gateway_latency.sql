-- How long requests took, hour by hour. A quantile is the upper bound of its place in the histogram: at most 1.42 times too much.
CREATE VIEW IF NOT EXISTS gateway_latency AS
WITH arrayCumSum(sumForEach(facts.latency)) AS up_to
SELECT
    facts.pipeline AS pipeline,
    facts.route AS route,
    facts.method AS method,
    toStartOfHour(facts.minute) AS hour,
    up_to[-1] AS requests,
    sum(facts.took_ms) / up_to[-1] AS mean_ms,
    0.25 * pow(2, (arrayFirstIndex(n -> n >= 0.5 * up_to[-1], up_to) - 1) / 2) AS p50_ms,
    0.25 * pow(2, (arrayFirstIndex(n -> n >= 0.99 * up_to[-1], up_to) - 1) / 2) AS p99_ms
FROM gateway_requests AS facts FINAL
GROUP BY pipeline, route, method, hour
