SELECT customers.id
FROM customers
WHERE coalesce((SELECT j.value FROM json_each(customers.attributes) AS j WHERE j.key = ? AND j.type IN ('text')) = ?, 0) = 1 OR coalesce(coalesce((SELECT sum(orders.total) AS sum_1
FROM orders
WHERE orders.customer_id = customers.id AND orders.status = ? AND orders.ordered_at <= ? AND orders.ordered_at > ?), ?) >= ?, 0) = 1 OR coalesce((SELECT count(*) AS count_1
FROM events
WHERE events.customer_id = customers.id AND events.name = ? AND events.at <= ? AND events.at > ?) >= ?, 0) = 1
