-- Which orders can the changes have touched? Those that changed, and those whose customer did.
--
-- This runs on the tables before and after the changes. A new or deleted customer is found on the side where
-- it exists; its orders have the same order_id on both, so one side is enough.

SELECT order_id FROM changed_orders
UNION
SELECT order_id FROM orders
WHERE customer_id IN (SELECT customer_id FROM changed_customers)
