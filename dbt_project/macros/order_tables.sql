{#- The lake's tables of the order family, as macros/lake_tables.sql has them. -#}
{% macro order_tables() -%}
    {{
        return(
            [
                "orders",
                "order_lines",
                "discount_applications",
                "shipping_lines",
                "tax_lines",
                "transactions",
                "refunds",
                "refund_lines",
                "fulfillments",
                "fulfillment_lines",
            ]
        )
    }}
{%- endmacro %}
