SELECT customers.id
FROM customers
WHERE coalesce(customers.seed = true, false)
