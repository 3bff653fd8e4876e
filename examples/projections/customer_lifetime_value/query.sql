-- One row for each customer, also for those that have not ordered anything yet.
--
-- Orders and payments are added up apart and joined afterwards: joined first, an order with two payments
-- would count twice.
--
-- affected_customer_id(id) is a macro that is always true in a full build. When only some customers need to
-- be computed again it lets those pass, so that the sums are not made for everybody.

WITH order_totals AS (
    SELECT
        customer_id,
        count(*) AS orders_count,
        sum(amount) AS orders_amount_sum,
        min(created_at) AS first_order_at,
        max(created_at) AS last_order_at
    FROM orders
    WHERE affected_customer_id(customer_id)
    GROUP BY customer_id
),

payment_totals AS (
    SELECT
        o.customer_id,
        sum(p.paid_amount) AS paid_amount_sum
    FROM payments AS p
    JOIN orders AS o ON o.order_id = p.order_id
    WHERE affected_customer_id(o.customer_id)
    GROUP BY o.customer_id
)

SELECT
    c.customer_id,
    c.segment,
    coalesce(o.orders_count, 0)::BIGINT AS orders_count,
    coalesce(o.orders_amount_sum, 0)::DECIMAL(38, 2) AS orders_amount_sum,
    coalesce(p.paid_amount_sum, 0)::DECIMAL(38, 2) AS paid_amount_sum,
    o.first_order_at,
    o.last_order_at
FROM customers AS c
LEFT JOIN order_totals AS o ON o.customer_id = c.customer_id
LEFT JOIN payment_totals AS p ON p.customer_id = c.customer_id
