-- Which groups (minute and segment) can the changes have touched?
--
-- This runs twice: on the tables as they were before the changes, and as they are after them. A row that
-- moved from one group to another is found in its old group by the first run and in its new one by the
-- second. changed_orders, changed_customers and changed_payments hold the rows of that side that were
-- inserted, updated or deleted since. Naming a group too many only costs time; missing one would leave it
-- wrong, so each way in which a change can reach a group is followed here.

WITH touched_orders AS (
    SELECT order_id, customer_id, created_at FROM changed_orders
    UNION ALL
    -- A customer's segment decides the group of each of its orders.
    SELECT order_id, customer_id, created_at FROM orders
    WHERE customer_id IN (SELECT customer_id FROM changed_customers)
),

touched_payments AS (
    SELECT order_id, paid_at FROM changed_payments
    UNION ALL
    -- An order decides whether its payments count, and leads to the customer they count for.
    SELECT order_id, paid_at FROM payments
    WHERE order_id IN (SELECT order_id FROM touched_orders)
),

touched_minutes AS (
    SELECT customer_id, date_trunc('minute', created_at) AS minute_bucket
    FROM touched_orders
    WHERE created_at IS NOT NULL
    UNION
    SELECT o.customer_id, date_trunc('minute', p.paid_at) AS minute_bucket
    FROM touched_payments AS p
    JOIN orders AS o ON o.order_id = p.order_id
    WHERE p.paid_at IS NOT NULL
)

SELECT t.minute_bucket, coalesce(c.segment, 'UNKNOWN') AS segment
FROM touched_minutes AS t
LEFT JOIN customers AS c ON c.customer_id = t.customer_id

UNION

-- A customer that appears takes its orders away from UNKNOWN, and one that is deleted leaves them there.
-- On the side where it is missing there is no changed_customers row to follow, so the other side names
-- UNKNOWN as well.
SELECT minute_bucket, 'UNKNOWN' AS segment
FROM touched_minutes
WHERE customer_id IN (SELECT customer_id FROM changed_customers)
