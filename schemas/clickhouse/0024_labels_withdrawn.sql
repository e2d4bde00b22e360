-- A label may be withdrawn (kind 'withdrawn', value NaN): what was said of the event before holds no more, and until another label comes it
-- has none. The row stays, like any other label the last one of its event: whoever reads the table by itself leaves it out.
ALTER TABLE labels COMMENT COLUMN kind 'boolean (value is 1 or 0), number (value), class (class), or withdrawn: the event has no label any more'
