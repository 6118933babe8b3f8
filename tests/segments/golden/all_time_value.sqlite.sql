SELECT customers.id
FROM customers
WHERE coalesce(coalesce((SELECT CASE WHEN (customer_stats.last_order_at <= ?) THEN customer_stats.total ELSE (SELECT sum(orders.total) AS sum_1
FROM orders
WHERE orders.customer_id = customers.id AND orders.status = ? AND orders.ordered_at <= ?) END AS anon_1
FROM customer_stats
WHERE customer_stats.customer_id = customers.id), ?) >= ?, 0) = 1 AND coalesce((SELECT CASE WHEN (customer_stats.last_order_at <= ?) THEN customer_stats.last_order_at ELSE (SELECT max(orders.ordered_at) AS max_1
FROM orders
WHERE orders.customer_id = customers.id AND orders.status = ? AND orders.ordered_at <= ?) END AS anon_2
FROM customer_stats
WHERE customer_stats.customer_id = customers.id) > ?, 0) = 0
