-- One row for each minute and customer segment in which an order was placed or a payment arrived.
--
-- The two sides have times of their own: an order counts in the minute it was created, a payment in the
-- minute it was paid. So each side yields rows of the same shape, with zeros for what the other one counts,
-- and one GROUP BY adds them up. (A join of orders and payments would count an order once per payment.)
--
-- affected_minute_bucket(m) is a macro. In a full build it is always true. When only some minutes need to be
-- computed again it lets those pass, and DuckDB turns it into ranges of created_at and paid_at, so that it
-- reads the parts of the tables that hold them and skips the rest.

WITH contributions AS (
    -- Orders. An order whose customer is missing, or has no segment, belongs to UNKNOWN.
    SELECT
        date_trunc('minute', o.created_at) AS minute_bucket,
        coalesce(c.segment, 'UNKNOWN') AS segment,
        1 AS orders_count,
        coalesce(o.amount, 0) AS orders_amount,
        0 AS paid_amount
    FROM orders AS o
    LEFT JOIN customers AS c ON c.customer_id = o.customer_id
    WHERE o.created_at IS NOT NULL
      AND affected_minute_bucket(date_trunc('minute', o.created_at))

    UNION ALL

    -- Payments, in the segment of the order's customer. A payment without an order is left out.
    SELECT
        date_trunc('minute', p.paid_at) AS minute_bucket,
        coalesce(c.segment, 'UNKNOWN') AS segment,
        0 AS orders_count,
        0 AS orders_amount,
        coalesce(p.paid_amount, 0) AS paid_amount
    FROM payments AS p
    JOIN orders AS o ON o.order_id = p.order_id
    LEFT JOIN customers AS c ON c.customer_id = o.customer_id
    WHERE p.paid_at IS NOT NULL
      AND affected_minute_bucket(date_trunc('minute', p.paid_at))
)

SELECT
    minute_bucket,
    segment,
    sum(orders_count)::BIGINT AS orders_count,
    sum(orders_amount)::DECIMAL(38, 2) AS orders_amount_sum,
    sum(paid_amount)::DECIMAL(38, 2) AS paid_amount_sum
FROM contributions
GROUP BY minute_bucket, segment
