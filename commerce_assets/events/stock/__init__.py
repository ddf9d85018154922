"""Stock within seconds: what is there, what is promised, what the storefront should show, and getting it there.

Belongs here: the books of stock, their arithmetic, the outbox of targets and the pusher that empties it. Does not belong here: receiving
and deciding events (the worker calls `facts.take`, `commitments.take`, `drift.observe` inside its own transactions), or Shopify's API
(behind `ports.StockStorefront`).

For each item and location (a shelf)

    available = on hand - committed - reserved - safety stock
    reserved  = units set aside here + units the storefront has set aside (its reserved, damaged, …)
    on hand   = the last count + all that moved after it: movements of the warehouse, shipments and restocks of orders
    committed = units promised to orders we know + units the storefront says are promised to orders we do not know

Everything an order does to stock is a handful of postings with a moment each, a function of its newest document alone. A count of the
warehouse, a reading of the storefront and an update seen of it are three kinds of the same thing: a figure at a moment, to which the
postings after that moment are added. So the books come out the same in whichever order facts arrive, and what the storefront does to its
own stock when an order comes in needs no push: it is expected of it.
"""
