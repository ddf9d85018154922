-- By which SKU a policy may name a variant; one that several carry names none.
select sku, min(variant_id) as variant_id
from marts.dim_variant
where sku is not null and sku <> '' and not is_deleted
group by sku
having count(*) = 1
