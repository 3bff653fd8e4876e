-- Every order as it stands, with the segment its customer has now (NULL when there is no such customer).
--
-- __lsn is a column that every captured table shows: the log position of the row's latest change. The
-- greater of the two tells how recent the joined row is; greatest() ignores the NULL of a missing customer.

SELECT
    o.order_id,
    o.customer_id,
    c.segment,
    o.amount::DECIMAL(18, 2) AS amount,
    o.status,
    o.created_at,
    o.updated_at,
    greatest(o.__lsn, c.__lsn) AS __source_lsn
FROM orders AS o
LEFT JOIN customers AS c ON c.customer_id = o.customer_id
