select count(*) > count(distinct{key}) from staged."{table}"
