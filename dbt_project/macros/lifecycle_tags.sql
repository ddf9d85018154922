{#-
    The tags that activation owns on a customer: the lifecycle, `lifecycle:vip`, and `winback:high-value-lapsed` for those worth
    winning back. In a fixed order, so that equal states are equal lists.
-#}
{% macro lifecycle_tags(scores) -%}
    list_filter(
        [
            'lifecycle:' || {{ scores }}.lifecycle,
            case when {{ scores }}.is_vip then 'lifecycle:vip' end,
            case when {{ scores }}.is_high_value_lapsed then 'winback:high-value-lapsed' end
        ],
        tag -> tag is not null
    )
{%- endmacro %}
