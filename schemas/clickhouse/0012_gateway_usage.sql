-- What each tenant used in each month: events are those accepted, which is what a bill counts.
CREATE VIEW IF NOT EXISTS gateway_usage AS
SELECT
    facts.pipeline AS pipeline,
    facts.tenant AS tenant,
    toStartOfMonth(facts.minute) AS month,
    sum(facts.requests) AS requests,
    sumIf(facts.requests, facts.status >= 500) AS failed_requests,
    sum(facts.events) AS events,
    sum(facts.request_bytes) AS request_bytes,
    sum(facts.response_bytes) AS response_bytes
FROM gateway_requests AS facts FINAL
WHERE facts.tenant != ''
GROUP BY pipeline, tenant, month
