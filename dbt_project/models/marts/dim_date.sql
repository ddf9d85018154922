with
    days as (
        {{
            dbt.date_spine(
                datepart="day",
                start_date="cast('" ~ var("calendar_start_on") ~ "' as date)",
                end_date="cast('" ~ var("calendar_end_on") ~ "' as date)",
            )
        }}
    ),

    dates as (select cast(date_day as date) as date_on from days)

select
    date_on,
    {{ dbt.date_trunc("week", "date_on") }} as week_starts_on,
    {{ dbt.date_trunc("month", "date_on") }} as month_starts_on,
    {{ dbt.date_trunc("quarter", "date_on") }} as quarter_starts_on,
    cast(extract(year from date_on) as integer) as year_number,
    cast(extract(quarter from date_on) as integer) as quarter_number,
    cast(extract(month from date_on) as integer) as month_number,
    cast(extract(week from date_on) as integer) as iso_week_number,
    cast(extract(day from date_on) as integer) as day_of_month_number,
    cast(extract(isodow from date_on) as integer) as iso_weekday_number,
    extract(isodow from date_on) >= 6 as is_weekend
from dates
