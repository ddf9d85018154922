"""A Shopify-compatible store on loopback, and the generators that fill it.

Here belongs everything that answers as the storefront would: documents and their store, the GraphQL schema and its
resolvers, search, cost and throttling, bulk operations, faults, the HTTP server, the fillers.
Not here: anything the platform itself needs. Nothing but tests and the CLI imports this package (the platform reaches
it over HTTP only), and it imports nothing else of `commerce_assets`.
"""
