SELECT customers.id
FROM customers
WHERE coalesce(customers.seed = ?, 0) = 1
