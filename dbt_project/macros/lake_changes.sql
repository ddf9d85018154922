{#-
    Staging reads the whole lake on a full build, and only what changed on an incremental run. Both must give the same
    table, whatever happened to the lake in between: a newer version, a day loaded again without an order (which then falls
    back to an older version, or is gone), a load that committed late, rows replayed from quarantine, a sweep, a micro-batch of
    events, micro-batches folded into one partition, a deletion.

    So no time is remembered as a watermark, but states: which files a model has read (`bookkeeping.<model>__files`), to be
    compared with those that lie in the lake now. Orders look up the versions of what lies, or lay, in the changed files, and
    note whose changed (`bookkeeping.order_changes`, numbered); their children read the documents of these orders again, and
    those with rows in changed files of their own, and note them for the facts (`bookkeeping.changed_documents`). The small
    families are looked through whole when a file changed, and what differs is read. All of a model's notes are written in the transaction of its rows.
-#}
{% macro prepare_bookkeeping() -%}
    {%- if execute and flags.WHICH in ["build", "run"] -%} {%- do drop_models_of_other_versions() -%} {%- endif -%}
    create schema if not exists bookkeeping;
    {#- A row without an order stands for every order. #}
    create table if not exists bookkeeping.order_changes (change_no bigint, order_id bigint);
    create table if not exists bookkeeping.changed_documents (order_id bigint);
    create table if not exists bookkeeping.state_changes (change_no bigint, order_id bigint, customer_id bigint);
    create table if not exists bookkeeping.taken (model varchar, change_no bigint);
{%- endmacro %}

{#-
    What an older version of the project built cannot be continued: an incremental model whose text, columns or
    `build_version` are not those it was built with is dropped when it is selected, and so built in full. Noted at once, not
    when it is built: what is not there can only be built by this version.
-#}
{% macro drop_models_of_other_versions() -%}
    {%- set models = [] -%}
    {%- for node in graph.nodes.values() | selectattr("config.materialized", "equalto", "incremental") -%}
        {%- if node.unique_id in selected_resources -%} {%- do models.append(node) -%} {%- endif -%}
    {%- endfor -%}
    {%- set noted = noted_versions() -%}
    {%- if noted.get("bookkeeping") != var("build_version") | string -%}
        {#- The notes themselves may be of another shape; without a version every model counts as another's. #}
        {%- set renew -%}
            begin;
            drop schema if exists bookkeeping cascade;
            create schema bookkeeping;
            create table bookkeeping.versions (model varchar, version varchar);
            insert into bookkeeping.versions values ('bookkeeping', '{{ var("build_version") }}');
            commit;
        {%- endset -%}
        {%- do run_query(renew) -%}
        {%- set noted = {} -%}
    {%- endif -%}
    {%- for node in models -%}
        {%- set version = local_md5(
            [var("build_version") | string, node.checksum.checksum, node.contract.checksum] | join("|")
        ) -%}
        {%- if noted.get(node.name) != version -%}
            {%- set relation = adapter.get_relation(target.database, node.schema, node.alias) -%}
            {%- if relation -%}
                {%- do log(relation ~ " was built by another version of the project: built in full", info=true) -%}
                {%- do adapter.drop_relation(relation) -%}
            {%- endif -%}
            {%- set note -%}
                delete from bookkeeping.versions where model = '{{ node.name }}';
                insert into bookkeeping.versions values ('{{ node.name }}', '{{ version }}');
            {%- endset -%}
            {%- do run_query(note) -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}

{% macro noted_versions() -%}
    {%- set there -%}
        select 1 from duckdb_tables()
        where database_name = current_database() and schema_name = 'bookkeeping' and table_name = 'versions'
    {%- endset -%}
    {%- set noted = {} -%}
    {%- if run_query(there).rows | length -%}
        {%- for row in run_query("select model, version from bookkeeping.versions").rows -%}
            {%- do noted.update({row[0]: row[1]}) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(noted) }}
{%- endmacro %}

{#- Pre-hook of a staging model: delete what no longer holds, and list what is missing for `latest_rows`. -#}
{% macro forget_outdated_rows(name) -%}
    {%- set table = lake_table(name) -%}
    {%- set root = ref("stg_storefront__" ~ table.root) if name != table.root -%}
    {%- set missing, files = this.identifier ~ "__missing", this.identifier ~ "__files" -%}
    {%- if execute -%}
        {%- do run_query("create or replace temporary table " ~ files ~ " as " ~ lake_files(watched(name, table))) -%}
    {%- endif -%}
    {%- if is_incremental() %}
        {%- set changed = changed_files() %}
        {%- if name == "orders" %} {{ forget_outdated_orders(changed) }}
        {%- elif table.root == "orders" %} {{ forget_outdated_children(name, changed) }}
        {%- elif changed == [] %}
            create or replace temporary table {{ missing }} as
            select *
            from ({{ latest_keys(name) }})
            limit 0
            ;
        {%- else %}
            {%- set same = same_state("missing", "held", table) %}
            create or replace temporary table {{ missing }} as {{ latest_keys(name) }};
            delete from {{ this }} as held
            where
                not exists (select 1 from {{ missing }} as missing where {{ same }})
                or {{ is_of_landed_batch("held", changed) }}
            ;
            delete from {{ missing }} as missing
            where exists (select 1 from {{ this }} as held where {{ same }})
            ;
        {%- endif %}
    {%- endif -%}
{%- endmacro %}

{#- Tables of the lake whose files a staging model depends on; children of orders hear of their roots by the notes. -#}
{% macro watched(name, table) -%}
    {%- if table.root == "orders" and name != "orders" -%} {{ return([name]) }}
    {%- elif table.swept_as -%} {{ return([name, "swept_ids", "deleted_ids"]) }}
    {%- else -%} {{ return([name, table.root] | unique | list) }}
    {%- endif -%}
{%- endmacro %}

{#-
    Orders that lie in a changed file now, or were last seen in the days of one, are looked up again; of micro-batches that are
    gone (folded, or landed again) those that came with events. A sweep may concern any order, so all of them are; a deletion
    those it names, and those that are marked.
-#}
{% macro forget_outdated_orders(changed_files) -%}
    {%- set candidates = this.identifier ~ "__candidates" -%}
    {%- set missing, changed = this.identifier ~ "__missing", this.identifier ~ "__changed" -%}
    {%- set same = same_state("missing", "held", lake_table("orders")) -%}
    {%- set periods, names, deletions = [], [], [] -%}
    {%- set is_deletion_changed = namespace(value=false) -%}
    {%- for file in changed_files or [] -%}
        {%- if "/deleted_ids/" in file.name -%}
            {%- set is_deletion_changed.value = true -%} {%- do deletions.append(file.name) if file.is_there -%}
        {%- else -%}
            {%- set partition = file.name.split("partition=")[1].split("/")[0] -%}
            {%- if "/swept_ids/" in file.name -%} {%- do periods.append("all") -%}
            {%- elif not partition.startswith("events-") -%} {%- do periods.append(partition) -%}
            {%- elif not file.is_there -%} {%- do periods.append("events") -%}
            {%- endif -%}
            {%- do names.append(file.name) if file.is_there -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set is_everything = changed_files is none or "all" in periods -%}
    create or replace temporary table {{ candidates }} as
    select order_id
    from {{ this }}
    {%- if is_everything %}
        union
        select order_id
        from {{ source("storefront", "orders") }}
    {%- else %}
        where
            strftime(_version_at, '%Y-%m-%d') in ('{{ periods | join("', '") }}')
            or strftime(_version_at, '%Y-%m') in ('{{ periods | join("', '") }}')
        {%- if "events" in periods %} or contains(_source_file, '/events-') {%- endif %}
            or {{ is_of_landed_batch(this.identifier, changed_files) }}
        {%- if is_deletion_changed.value %} or is_deleted {%- endif %}
        {%- if deletions %}
            union
            select object_id
            from read_parquet(['{{ deletions | join("', '") }}'])
            where object_type = 'order'
        {%- endif %}
        {%- if names %}
            union
            select order_id
            from read_parquet(['{{ names | join("', '") }}'])
        {%- endif %}
    {%- endif %}
    ;
    create or replace temporary table {{ missing }} as {{ latest_keys("orders", candidates) }};
    create or replace temporary table {{ changed }} as
    select held.order_id
    from {{ this }} as held
    where
        held.order_id in (select order_id from {{ candidates }})
        and not exists (select 1 from {{ missing }} as missing where {{ same }})
    union
    select missing.order_id
    from {{ missing }} as missing
    where not exists (select 1 from {{ this }} as held where {{ same }})
    ;
    delete from {{ missing }}
    where order_id not in (select order_id from {{ changed }})
    ;
    delete from {{ this }}
    where order_id in (select order_id from {{ changed }})
    ;
{%- endmacro %}

{#- Children of orders: the documents that changed since the model was last built, and only they, are read again. -#}
{% macro forget_outdated_children(name, changed_files) -%}
    {%- set root = ref("stg_storefront__orders") -%}
    {%- set changed, missing = this.identifier ~ "__changed", this.identifier ~ "__missing" -%}
    {#-
        Rows without a change of their document: replayed from quarantine. Those of micro-batches came with their documents, of
        which the notes tell.
    -#}
    {%- set names = [] -%}
    {%- for file in changed_files or [] -%}
        {%- do names.append(file.name) if file.is_there and "/partition=events-" not in file.name -%}
    {%- endfor -%}
    {%- set find_changed -%}
        create or replace temporary table {{ changed }} as
        {%- if changed_files is none or is_every_order_changed() %}
            select order_id
            from {{ root }}
            union
            select order_id
            from {{ this }}
            union all
            select null
        {%- else %}
            select order_id
            from bookkeeping.order_changes
            where change_no > (select change_no from {{ bookkeeping("__seen") }})
            {%- if names %}
                union
                select order_id
                from read_parquet(['{{ names | join("', '") }}'])
            {%- endif %}
        {%- endif %}
    {%- endset -%}
    {%- do run_query(find_changed) -%}
    create or replace temporary table {{ missing }} as {{ latest_keys(name, changed, files_of(changed, root)) }};
    delete from {{ this }}
    where order_id in (select order_id from {{ changed }})
    ;
{%- endmacro %}

{#- Orders were built anew, or so often since the model was last built that the notes do not reach back. -#}
{% macro is_every_order_changed() -%}
    {%- set notes -%}
        select
            coalesce(min(notes.change_no), 0) > any_value(seen.change_no) + 1
            or coalesce(bool_or(notes.order_id is null and notes.change_no > seen.change_no), false)
        from {{ bookkeeping("__seen") }} as seen
        left join bookkeeping.order_changes as notes on true
    {%- endset -%}
    {{ return(run_query(notes).rows[0][0]) }}
{%- endmacro %}

{#-
    The lake's files that can hold the changed documents: a partition is named by the day or month of the version, or is a
    micro-batch, which may hold any.
-#}
{% macro files_of(changed, root) -%}
    {%- set files -%}
        with
            versions as (
                select distinct cast(_version_at as date) as version_on
                from {{ root }}
                where order_id in (select order_id from {{ changed }})
            ),
            partitions as (
                select strftime(version_on, '%Y-%m-%d') as name
                from versions
                union
                select strftime(version_on, '%Y-%m')
                from versions
                union
                select 'all'
            )
        select filename
        from {{ this.identifier }}__files
        where
            regexp_extract(filename, 'partition=([^/]*)', 1) in (select name from partitions)
            or contains(filename, '/partition=events-')
    {%- endset -%}
    {{ return(run_query(files).columns[0].values() | sort) }}
{%- endmacro %}

{#- Post-hook of a staging model: note which files it holds now, and which orders it changed. -#}
{% macro note_incorporated(name) -%}
    {%- set table = lake_table(name) -%}
    {%- set changed = this.identifier ~ "__changed" -%}
    {%- if table.root == "orders" -%}
        {%- if name == "orders" %}
            insert into bookkeeping.order_changes
            {%- set next_no = "(select coalesce(max(change_no), 0) + 1 from bookkeeping.order_changes)" %}
            {%- if is_incremental() %}
                select {{ next_no }}, order_id
                from {{ changed }}
                ;
                delete from bookkeeping.order_changes
                where
                    change_no
                    <= (select max(change_no) - {{ var("order_changes_kept") }} from bookkeeping.order_changes)
                ;
            {%- else %}
                select {{ next_no }}, null
                ;
                delete from bookkeeping.order_changes
                where change_no < (select max(change_no) from bookkeeping.order_changes)
                ;
            {%- endif %}
        {%- else %}
            create or replace table {{ bookkeeping("__seen") }} as
            select coalesce(max(change_no), 0) as change_no
            from bookkeeping.order_changes
            ;
        {%- endif %}
        insert into bookkeeping.changed_documents
        {%- if is_incremental() %}
            select order_id
            from {{ changed }}
            ;
        {%- else %}
            select null
            ;
        {%- endif %}
    {%- endif %}
    create or replace table {{ bookkeeping("__files") }} as
    select *
    from {{ this.identifier }}__files
    ;
{%- endmacro %}

{% macro bookkeeping(suffix) -%} bookkeeping.{{ this.identifier }}{{ suffix }} {%- endmacro %}

{#- The files of some of the lake's tables. No content is read for this: landing replaces files whole, never in place. -#}
{% macro lake_files(names) -%}
    select filename, size, last_modified
    from
        read_blob(
            [
                {%- for name in names %}
                    '{{ env_var("COMMERCE_LAKE_ROOT") }}/raw/storefront/{{ name }}/**/*.parquet'{{ ", " if not loop.last }}
                {%- endfor %}
            ]
        )
{%- endmacro %}

{#- Files that are not as they were when the model was last built, as (name, is_there); none where that is not known. -#}
{% macro changed_files() -%}
    {%- set notes = adapter.get_relation(this.database, "bookkeeping", this.identifier ~ "__files") -%}
    {%- if notes is none -%} {{ return(none) }} {%- endif -%}
    {%- set now, known = "select * from " ~ this.identifier ~ "__files", "select * from " ~ notes -%}
    {%- set changed = [] -%}
    {%- for is_there, files in [(true, now ~ " except " ~ known), (false, known ~ " except " ~ now)] -%}
        {%- for row in run_query(files).rows -%}
            {%- do changed.append({"name": row[0], "is_there": is_there}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(changed) }}
{%- endmacro %}

{#-
    A row came with a micro-batch whose file is new: the batch was landed again after a crash. Its time of landing is what it
    was, but documents that were read anew may say something else in the same version: stock does not change its item's.
-#}
{% macro is_of_landed_batch(held, changed_files) -%}
    {%- set batches = [] -%}
    {%- for file in changed_files or [] if file.is_there and "/partition=events-" in file.name -%}
        {%- do batches.append(file.name.split("partition=")[1].split("/")[0]) -%}
    {%- endfor -%}
    {%- if batches %} split_part({{ held }}._source_file, '/', 3) in ('{{ batches | unique | join("', '") }}')
    {%- else %} false
    {%- endif -%}
{%- endmacro %}

{#- The lake's times carry a zone, the model's are UTC without. -#}
{% macro same_state(lake, held, table) -%}
    {{ same_values(lake, held, table.key) }}
    {%- for column in ["_version_at", "_loaded_at"] %}
        and {{ lake }}.{{ column }} = {{ held }}.{{ column }} at time zone 'UTC'
    {%- endfor %}
    {%- if table.swept_as %}
        and {{ lake }}.deletion_seen_at is not distinct from {{ held }}.deletion_seen_at at time zone 'UTC'
    {%- endif %}
{%- endmacro %}
