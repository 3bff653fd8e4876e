-- Which customers can the changes have touched? Runs on the tables before and after the changes, so an order
-- that moved to another customer names the old one in the first run and the new one in the second.
-- A customer_id without a customer may be among them; it yields no row and does no harm.

SELECT customer_id FROM changed_customers
UNION
SELECT customer_id FROM changed_orders
WHERE customer_id IS NOT NULL
UNION
SELECT customer_id FROM orders
WHERE order_id IN (SELECT order_id FROM changed_payments)
  AND customer_id IS NOT NULL
