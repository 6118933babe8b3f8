SELECT customers.id
FROM customers
WHERE coalesce(customers.country IN ('GB', 'DE', 'RU'), false) AND NOT coalesce(customers.seed = true, false) AND (EXISTS (SELECT *
FROM consents
WHERE consents.customer_id = customers.id AND consents.topic = 'offers' AND consents.granted IS true AND consents.at <= '2011-12-05 09:00:00+00:00')) AND (EXISTS (SELECT *
FROM orders
WHERE orders.customer_id = customers.id AND orders.status = 'placed' AND orders.ordered_at <= '2011-12-05 09:00:00+00:00' AND orders.ordered_at > '2010-12-05 09:00:00+00:00'))
