"""Reading (and, for activation, calling) a Shopify store's Admin GraphQL API: client, auth, bulk, streams, mapping to contracts."""
