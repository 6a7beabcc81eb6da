-- Which store the rows are of: no other store writes here, until `counterd adopt` says so.
ALTER TABLE counterd_database
  ADD COLUMN lineage UUID;
