-- Intention to treat: every customer counts for the arm that chance put it into, whether the write came through or
-- not, with
-- its orders from the moment on when it was assigned.
{% set arms = ["treated", "holdout"] %}

with
    assigned as (
        select
            destination,
            sync,
            {{ customer_of_key("record_key") }} as customer_id,
            arm,
            holdout_share,
            assigned_at at time zone 'UTC' as assigned_at
        from {{ source("activation", "arms") }}
        where arm in ('treated', 'holdout') and {{ customer_of_key("record_key") }} is not null
    ),

    orders as (
        select customer_id, processed_at, net_amount, currency_code
        from {{ ref("fct_order") }}
        where is_reportable and order_kind = 'sale' and customer_id in (select customer_id from assigned)
    ),

    -- Amounts of different currencies do not add up: spend is in the currency of most orders.
    spent_in as (select currency_code from orders group by currency_code order by count(*) desc, currency_code limit 1),

    looked as (select cast(now() at time zone 'UTC' as timestamp) as as_of_at),

    windows as (
        {% for days in var("lift_window_days") -%}
            select '{{ days }}_days' as window_name, {{ days }} as window_days
            union all
        {% endfor -%}
        select 'to_date', null
    ),

    -- What each customer did before: whether it had bought at all, and what it spent in the 90 days before.
    before as (
        select
            assigned.destination,
            assigned.sync,
            assigned.customer_id,
            count(orders.customer_id) as order_count,
            coalesce(
                sum(orders.net_amount) filter (
                    where
                        orders.processed_at > assigned.assigned_at - interval 90 day
                        and orders.currency_code = (select currency_code from spent_in)
                ),
                0
            ) as net_amount
        from assigned
        left join orders on orders.customer_id = assigned.customer_id and orders.processed_at <= assigned.assigned_at
        group by assigned.destination, assigned.sync, assigned.customer_id
    ),

    -- Customers whose window is over: their outcomes are final. To date, all of them, with outcomes that go on.
    outcomes as (
        select
            assigned.destination,
            assigned.sync,
            assigned.customer_id,
            assigned.arm,
            windows.window_name,
            count(orders.customer_id) as order_count,
            coalesce(
                sum(orders.net_amount) filter (where orders.currency_code = (select currency_code from spent_in)), 0
            ) as net_amount
        from assigned
        cross join looked
        inner join
            windows
            on windows.window_days is null
            or assigned.assigned_at + to_days(windows.window_days) <= looked.as_of_at
        left join
            orders
            on orders.customer_id = assigned.customer_id
            and orders.processed_at > assigned.assigned_at
            and orders.processed_at <= coalesce(assigned.assigned_at + to_days(windows.window_days), looked.as_of_at)
        group by assigned.destination, assigned.sync, assigned.customer_id, assigned.arm, windows.window_name
    ),

    measured as (
        select
            outcomes.*,
            unnest(
                [
                    {metric:'net_spend', measure:cast(outcomes.net_amount as double)},
                    {metric:'order_rate', measure:cast(outcomes.order_count > 0 as integer)},
                    {metric:'orders', measure:outcomes.order_count},
                    {
                        metric:'retention',
                        measure: case when before.order_count > 0 then cast(outcomes.order_count > 0 as integer) end
                    }
                ],
                recursive := true
            )
        from outcomes
        inner join
            before
            on before.destination = outcomes.destination
            and before.sync = outcomes.sync
            and before.customer_id = outcomes.customer_id
    ),

    summed as (
        select
            destination,
            sync,
            metric,
            window_name,
            {% for arm in arms %}
                count(measure) filter (where arm = '{{ arm }}') as {{ arm }}_count,
                avg(measure) filter (where arm = '{{ arm }}') as {{ arm }}_mean,
                var_samp(measure) filter (where arm = '{{ arm }}') as {{ arm }}_variance,
                {{ money("sum(net_amount) filter (where arm = '" ~ arm ~ "' and metric = 'net_spend')") }}
                as {{ arm }}_net_amount {{ "," if not loop.last }}
            {% endfor %}
        from measured
        group by destination, sync, metric, window_name
    ),

    -- Does the split look like chance: as many held out as declared, and both arms alike before?
    splits as (
        select
            assigned.destination,
            assigned.sync,
            min(assigned.assigned_at) as since_at,
            (count(*) filter (where assigned.arm = 'holdout') - sum(assigned.holdout_share))
            / sqrt(nullif(sum(assigned.holdout_share * (1 - assigned.holdout_share)), 0)) as split_z,
            {% for arm in arms %}
                count(*) filter (where assigned.arm = '{{ arm }}') as {{ arm }}_count,
                avg(before.net_amount) filter (where assigned.arm = '{{ arm }}') as {{ arm }}_mean,
                var_samp(cast(before.net_amount as double)) filter (
                    where assigned.arm = '{{ arm }}'
                ) as {{ arm }}_variance {{ "," if not loop.last }}
            {% endfor %}
        from assigned
        inner join
            before
            on before.destination = assigned.destination
            and before.sync = assigned.sync
            and before.customer_id = assigned.customer_id
        group by assigned.destination, assigned.sync
    ),

    judged as (
        select
            destination,
            sync,
            since_at,
            {{ normal_p_value("split_z") }} as split_p_value,
            (treated_mean - holdout_mean) / sqrt(
                nullif(
                    {{
                        difference_variance(
                            "treated_variance",
                            "nullif(treated_count, 0)",
                            "holdout_variance",
                            "nullif(holdout_count, 0)",
                        )
                    }},
                    0
                )
            ) as before_z
        from splits
    ),

    -- One row a sync, metric and window, also where nobody's window is over yet.
    asked as (
        select judged.*, windows.window_name, windows.window_days, metrics.metric
        from judged
        cross join windows
        cross join (select unnest(['net_spend', 'order_rate', 'orders', 'retention']) as metric) as metrics
    ),

    compared as (
        select
            asked.*,
            looked.as_of_at,
            coalesce(summed.treated_count, 0) as treated_count,
            coalesce(summed.holdout_count, 0) as holdout_count,
            summed.treated_mean,
            summed.holdout_mean,
            summed.treated_net_amount,
            summed.holdout_net_amount,
            date_diff('day', asked.since_at, looked.as_of_at) + 1 as look_day,
            summed.treated_variance,
            summed.holdout_variance,
            -- Too few customers, or an arm in which all did the same, say nothing about how far means may be off.
            least(summed.treated_count, summed.holdout_count) >= {{ var("lift_least_count") }}
            and least(summed.treated_variance, summed.holdout_variance) > 0 as has_intervals
        from asked
        cross join looked
        left join
            summed
            on summed.destination = asked.destination
            and summed.sync = asked.sync
            and summed.metric = asked.metric
            and summed.window_name = asked.window_name
    ),

    widths as (
        select
            *,
            treated_mean - holdout_mean as difference,
            case
                when has_intervals
                then
                    {{
                        welch_half_width(
                            difference_variance(
                                "treated_variance", "treated_count", "holdout_variance", "holdout_count"
                            ),
                            welch_degrees("treated_variance", "treated_count", "holdout_variance", "holdout_count"),
                        )
                    }}
            end as fixed_half_width,
            case
                when has_intervals and window_days is null
                then
                    {{
                        daily_half_width(
                            difference_variance(
                                "treated_variance", "treated_count", "holdout_variance", "holdout_count"
                            ),
                            "look_day",
                        )
                    }}
                when has_intervals
                then
                    {{
                        sequence_half_width(
                            difference_variance(
                                "treated_variance", "treated_count", "holdout_variance", "holdout_count"
                            ),
                            "(treated_count + holdout_count)",
                            var("lift_tuned_count"),
                        )
                    }}
            end as always_half_width
        from compared
    )

select
    -- strings
    destination,
    sync,
    metric,
    window_name,
    case when metric = 'net_spend' then (select currency_code from spent_in) end as currency_code,
    -- counts
    window_days,
    treated_count,
    holdout_count,
    -- amounts
    treated_net_amount,
    holdout_net_amount,
    -- numerics
    treated_mean,
    holdout_mean,
    difference,
    difference / nullif(holdout_mean, 0) as relative_lift,
    difference - fixed_half_width as fixed_low,
    difference + fixed_half_width as fixed_high,
    difference - always_half_width as always_low,
    difference + always_half_width as always_high,
    split_p_value,
    {{ normal_p_value("before_z") }} as before_p_value,
    -- booleans
    abs(difference) > always_half_width as is_conclusive,
    split_p_value < 0.001 as is_split_spoilt,
    -- times
    since_at,
    as_of_at
from widths
