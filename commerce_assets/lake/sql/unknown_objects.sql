-- Children of a kind that no table takes, and roots that are another kind of object.
with
    unknown as (
        select _line from value.children where _kind is null or _kind not in ({kinds})
        union all
        select _line from value.parents where _kind is not null and _kind not in ({roots})
    )
select _line, rtrim(text, chr(10) || chr(13)) from lines where _line in (select _line from unknown)
