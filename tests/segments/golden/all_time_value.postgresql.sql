SELECT customers.id
FROM customers
WHERE coalesce(coalesce((SELECT CASE WHEN (customer_stats.last_order_at <= '2011-12-05 09:00:00+00:00') THEN customer_stats.total ELSE (SELECT sum(orders.total) AS sum_1
FROM orders
WHERE orders.customer_id = customers.id AND orders.status = 'placed' AND orders.ordered_at <= '2011-12-05 09:00:00+00:00') END AS anon_1
FROM customer_stats
WHERE customer_stats.customer_id = customers.id), 0) >= 10000000, false) AND NOT coalesce((SELECT CASE WHEN (customer_stats.last_order_at <= '2011-12-05 09:00:00+00:00') THEN customer_stats.last_order_at ELSE (SELECT max(orders.ordered_at) AS max_1
FROM orders
WHERE orders.customer_id = customers.id AND orders.status = 'placed' AND orders.ordered_at <= '2011-12-05 09:00:00+00:00') END AS anon_2
FROM customer_stats
WHERE customer_stats.customer_id = customers.id) > '2011-09-06 09:00:00+00:00', false)
