drop schema staged cascade;
drop schema settled cascade;
drop table files;
drop table dropped;
drop table quarantined;
