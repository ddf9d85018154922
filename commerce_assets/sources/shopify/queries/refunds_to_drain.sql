-- Every refund, oldest first: their line items cannot come with a bulk operation.
select distinct id from scanned order by len(id), id
