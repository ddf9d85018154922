{#- Pre-hook of order_builds: forget the versions that the facts no longer hold. -#}
{% macro forget_other_versions() -%}
    {%- if is_incremental() -%}
        delete from {{ this }} as held
        where
            not exists (
                select 1
                from {{ ref("fct_order") }} as orders
                where orders.order_id = held.order_id and orders.updated_at = held.version_at
            )
    {%- endif -%}
{%- endmacro %}
