SELECT customers.id
FROM customers
WHERE coalesce(customers.country IN (?, ?, ?), 0) = 1 AND coalesce(customers.seed = ?, 0) = 0 AND (EXISTS (SELECT *
FROM consents
WHERE consents.customer_id = customers.id AND consents.topic = ? AND consents.granted IS 1 AND consents.at <= ?)) AND (EXISTS (SELECT *
FROM orders
WHERE orders.customer_id = customers.id AND orders.status = ? AND orders.ordered_at <= ? AND orders.ordered_at > ?))
