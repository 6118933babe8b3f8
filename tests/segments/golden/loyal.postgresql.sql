SELECT customers.id
FROM customers
WHERE coalesce((CASE WHEN jsonb_typeof((customers.attributes -> 'loyalty_tier')) = 'string' THEN ((customers.attributes -> 'loyalty_tier') #>> '{}') END) = 'gold', false) OR coalesce(coalesce((SELECT sum(orders.total) AS sum_1
FROM orders
WHERE orders.customer_id = customers.id AND orders.status = 'placed' AND orders.ordered_at <= '2011-12-05 09:00:00+00:00' AND orders.ordered_at > '2010-12-05 09:00:00+00:00'), 0) >= 5000000, false) OR coalesce((SELECT count(*) AS count_1
FROM events
WHERE events.customer_id = customers.id AND events.name = 'product_viewed' AND events.at <= '2011-12-05 09:00:00+00:00' AND events.at > '2011-11-28 09:00:00+00:00') >= 3, false)
