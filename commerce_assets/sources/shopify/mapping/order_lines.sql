select
    _line,
    1 as _ordinal,
    gid(id, 'LineItem') as order_line_id,
    gid(__parentId, 'Order') as order_id,
    gid(product.id, 'Product') as product_id,
    gid(variant.id, 'ProductVariant') as variant_id,
    sku,
    title,
    variantTitle as variant_title,
    vendor,
    whole(quantity) as quantity,
    whole(currentQuantity) as current_quantity,
    money(originalUnitPriceSet.shopMoney.amount) as unit_price_amount,
    money(originalTotalSet.shopMoney.amount) as gross_amount,
    money_sum([a.allocatedAmountSet.shopMoney.amount for a in discountAllocations]) as discount_amount,
    money_sum([t.priceSet.shopMoney.amount for t in taxLines]) as tax_amount,
    currency(originalUnitPriceSet.shopMoney.currencyCode) as currency_code,
    truth(isGiftCard) as is_gift_card,
    truth(requiresShipping) as is_shippable,
    truth(taxable) as is_taxable,
    lost(product.id, product_id) or lost(variant.id, variant_id) as _suspect
from children
where _kind = 'LineItem'
