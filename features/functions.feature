Feature: What the page calculates
  The pure functions that the page is made of.

  Background:
    Given I have the catalogue open

  Scenario: Prices as people write them
    Then "readPrice" of "numbers" gives
      | arguments       | result                      |
      | "12,50"         | "12.50"                     |
      | "$12.50"        | "12.50"                     |
      | ".5"            | "0.5"                       |
      | "0,5"           | "0.5"                       |
      | "1,234.56"      | "1234.56"                   |
      | "1.234,56"      | "1234.56"                   |
      | "1,234,567"     | "1234567"                   |
      | "1 234,50 €"    | "1234.50"                   |
      | "EUR 5"         | "5"                         |
      | "-1"            | "-1"                        |
      | "9.999"         | "9.999"                     |
      | "1,800"         | {"doubt": ["1800", "1.8"]}  |
      | "1.800"         | {"doubt": ["1800", "1.8"]}  |
      | "1,2,3"         | null                        |
      | "cheap"         | null                        |
      | "Infinity"      | null                        |
    And "readInteger" of "numbers" gives
      | arguments | result |
      | "4.0"     | "4"    |
      | "4.5"     | null   |
      | "many"    | null   |

  Scenario: Numbers in the reader's format
    Then 1234.5 and 1000 are shown
      | language | money      | price   | count |
      | en-US    | $1,234.50  | 1234.50 | 1,000 |
      | de       | 1.234,50 $ | 1234,50 | 1.000 |
    And "counted" of "numbers" gives
      | arguments | result            |
      | 0         | "0 products"      |
      | 1         | "1 product"       |
      | 10000     | "10,000 products" |

  Scenario: Bulk changes of prices
    Then "changedPrice" of "prices" gives
      | arguments                                                                          | result        |
      | 49.95, {"direction": "up", "by": "10", "unit": "percent", "ending": "0.01"}        | 54.95         |
      | 49.95, {"direction": "up", "by": "10", "unit": "percent", "ending": "0.99"}        | 54.99         |
      | 49.95, {"direction": "down", "by": "5", "unit": "amount", "ending": "0.95"}        | 44.95         |
      | 49.95, {"direction": "down", "by": "10", "unit": "percent", "ending": "1"}         | 45            |
      | 0.07, {"direction": "up", "by": "50", "unit": "percent", "ending": "0.01"}         | 0.11          |
      | 3.33, {"direction": "up", "by": "0", "unit": "amount", "ending": "0.05"}           | 3.35          |
      | 3.33, {"direction": "up", "by": "0", "unit": "amount", "ending": "0.10"}           | 3.3           |
      | 3.33, {"direction": "up", "by": "0", "unit": "amount", "ending": "0.50"}           | 3.5           |
      | 0.2, {"direction": "up", "by": "0", "unit": "percent", "ending": "0.99"}           | 0.99          |
      | 10.49, {"direction": "up", "by": "0", "unit": "percent", "ending": "0.99"}         | 10.99         |
      | 0, {"direction": "up", "by": "10", "unit": "percent", "ending": "0.99"}            | 0             |
      | 1, {"direction": "down", "by": "5", "unit": "amount", "ending": "0.01"}            | -4            |
      | 9999999999.99, {"direction": "up", "by": "1", "unit": "percent", "ending": "0.01"} | 10099999999.99 |

  Scenario: How many products match: what the facets count, and before that what the list says
    Then "total" of "state" gives
      | arguments | result |
      | {"query": {"q": "a", "category": null, "status": "", "min_price": "", "max_price": "", "min_rating": "", "limit": "25"}, "facets": {"state": "ready", "key": "q=a", "total": 1234}, "list": {"state": "ready", "total": {"number": 1200, "isExact": false}}} | {"number": 1234, "isExact": true} |
      | {"query": {"q": "a", "category": null, "status": "", "min_price": "", "max_price": "", "min_rating": "", "limit": "25"}, "facets": {"state": "loading", "key": ""}, "list": {"state": "ready", "total": {"number": 1200, "isExact": false}}} | {"number": 1200, "isExact": false} |
      | {"query": {"q": "a", "category": null, "status": "", "min_price": "", "max_price": "", "min_rating": "", "limit": "25"}, "facets": {"state": "ready", "key": "q=b", "total": 1}, "list": {"state": "loading", "total": {"number": 1, "isExact": true}}} | null |
    And "pages" of "state" gives
      | arguments | result |
      | {"query": {"q": "a", "category": null, "status": "", "min_price": "", "max_price": "", "min_rating": "", "limit": "25"}, "facets": {"state": "failed", "key": null}, "list": {"state": "ready", "total": {"number": 51, "isExact": true}}} | 3 |
      | {"query": {"q": "a", "category": null, "status": "", "min_price": "", "max_price": "", "min_rating": "", "limit": "25"}, "facets": {"state": "failed", "key": null}, "list": {"state": "ready", "total": {"number": 1200, "isExact": false}}} | null |

  Scenario: Addresses and what they ask for
    Then "addressOf" of "query" gives
      | arguments                                               | result                    |
      | {"q": "", "category": null, "sort": "-id"}              | ""                        |
      | {"q": "a b", "category": "", "page": "2"}, "7"          | "?category=&page=2&q=a+b&product=7" |
    And "asked" of "query" gives
      | arguments                                                                                            | result                     |
      | {"q": "", "category": "", "status": "", "min_price": "", "max_price": "", "min_rating": "", "sort": "-id", "limit": "25", "cursor": ""} | "category=&sort=-id&limit=25" |
    And "changed" of "query" gives
      | arguments                                                 | result                                      |
      | {"page": "3", "cursor": "x", "q": ""}, {"q": "a"}         | {"page": "1", "cursor": "", "q": "a"}       |
      | {"page": "3", "cursor": "x", "q": ""}, {"page": "4"}      | {"page": "4", "cursor": "x", "q": ""}       |

  Scenario: Members as text and as values
    Then "textOf" of "members" gives
      | arguments              | result   |
      | "price", 10            | "10.00"  |
      | "description", "a\r\nb" | "a\nb"  |
      | "category", "a\r\nb"   | "ab"     |
      | "category", null       | ""       |
    And "valueOf" of "members" gives
      | arguments              | result   |
      | "price", "12,50"       | 12.5     |
      | "price", "cheap"       | "cheap"  |
      | "rating", "4"          | 4        |
      | "category", ""         | null     |
      | "name", ""             | ""       |

  Scenario: The newer representation of a product wins
    Then "newest" of "state" gives
      | arguments                                                                    | result                                          |
      | {}, {"id": 1, "price": 1}, 5                                                 | {"product": {"id": 1, "price": 1}, "etag": null, "at": 5} |
      | {"1": {"product": {"id": 1, "price": 2}, "at": 4}}, {"id": 1, "price": 1}, 5 | {"product": {"id": 1, "price": 1}, "etag": null, "at": 5} |
      | {"1": {"product": {"id": 1, "price": 2}, "at": 6}}, {"id": 1, "price": 1}, 5 | {"product": {"id": 1, "price": 2}, "at": 6}     |
    And "visibleRows" of "state" gives
      | arguments | result |
      | {"list": {"rows": [{"id": 1}, {"id": 2}, {"id": 3}], "at": 5}, "fresh": [9], "known": {"9": {"product": {"id": 9}, "at": 6}, "2": {"product": null, "at": 6}}, "pending": {"items": [{"product": {"id": 3}}]}, "leaving": []} | [{"id": 9}, {"id": 1}] |

  Scenario: Only what was touched is sent, and what was typed stays
    Then "members" of "session" gives
      | arguments                                                                          | result               |
      | {"id": 7, "base": {"name": "a", "price": 1, "category": "x"}, "typed": {"category": ""}} | {"category": null} |
      | {"id": null, "base": {"name": "", "rating": 0, "category": null}, "typed": {"name": "a"}} | {"name": "a", "rating": 0} |
    And "saved" of "session" gives
      | arguments | result |
      | {"id": 7, "typed": {"name": "b", "price": "2"}}, {"id": 7, "name": "a"}, "e", {"name": "a", "price": "2"} | {"id": 7, "typed": {"name": "b"}, "base": {"id": 7, "name": "a"}, "etag": "e", "state": "ready", "failure": null, "faults": {}, "isCopy": false, "key": null, "news": null} |
    And "followed" of "session" gives
      | arguments | result |
      | {"id": 7, "state": "ready", "base": {"price": 1}, "typed": {"price": "2"}}, {"id": 7, "price": 3}, "e" | {"id": 7, "state": "ready", "base": {"price": 1}, "typed": {"price": "2"}} |
      | {"id": 7, "state": "ready", "base": {"price": 1}, "typed": {"name": "b"}}, {"id": 7, "price": 3}, "e" | {"id": 7, "state": "ready", "base": {"id": 7, "price": 3}, "typed": {"name": "b"}, "etag": "e", "failure": null} |

  Scenario: A token has only what a header can carry
    Then "readable" of "token" gives
      | arguments          | result                                                                               |
      | " \u200babc\ufeff" | {"token": "abc", "fault": ""}                                                        |
      | "ab\u00e9"         | {"token": "", "fault": "A token has only letters, digits and signs of plain English"} |
      | ""                 | {"token": "", "fault": "Enter a token"}                                              |

  Scenario: Files are read as the service reads them
    Then "columnsOf" of "spreadsheet" gives
      | arguments                                   | result |
      | "\n\nID;Price\n1;\"2;5\"\n"                   | {"row": 3, "columns": [{"heading": "ID", "samples": ["1"], "known": "id", "member": "id"}, {"heading": "Price", "samples": ["2;5"], "known": "price", "member": "price"}]} |
      | "sep=;\r\nImg URL;a,b,c\r"                  | {"row": 1, "columns": [{"heading": "Img URL", "samples": [], "known": "img_url", "member": "img_url"}, {"heading": "a,b,c", "samples": [], "member": ""}]} |
      | "Title\tname\t\tImage Src\nx\ty\tz\t"       | {"row": 1, "columns": [{"heading": "Title", "samples": ["x"], "member": ""}, {"heading": "name", "samples": ["y"], "known": "name", "member": "name"}, {"heading": "Image Src", "samples": [], "member": "img_url"}]} |
      | "what is  wrong,Images\n\"a \"\"b\"\"\",c"    | {"row": 1, "columns": [{"heading": "what is  wrong", "samples": ["a \"b\""], "known": "", "member": ""}, {"heading": "Images", "samples": ["c"], "member": "img_url"}]} |
    And "without" of "spreadsheet" gives
      | arguments                                        | result                       |
      | "a\n\"b\nc\"\nd\n", false, [2]                      | "a\n\r\nd\n"                 |
      | "a,b\n\"b,c\nd,e\n", false, [2]                     | "a,b\n\r\nd,e\n"             |
      | "a,b\n\"b\"c,\"c\nd\"\ne,f", false, [2, 4]             | "a,b\n\r\nd\"\n\r\n"         |
      | "{\"a\": \"b\"}\n{}\n{\"c\": 1}", true, [1, 3]           | "\r\n{}\n\r\n"               |
      | "sep=;\na;b\n1;2", false, [2]                      | "sep=;\na;b\n\r\n"           |
    And "faultyFile" of "spreadsheet" gives
      | arguments                                                            | result                                                  |
      | "a;b\n1;\"x;y\"\n2\n", false, [[2, "is; bad"], [3, "is bad"]]          | "a;b;What is wrong\r\n1;\"x;y\";\"is; bad\"\r\n2;;is bad\r\n" |
      | "a,What is wrong\n1,old\n", false, [[2, "new"]]                        | "a,What is wrong\r\n1,new\r\n"                          |
      | "a,b\n1,2,3\n\"x\n", false, [[2, "is long"], [3, "is broken"]]          | "a,b,What is wrong\r\n1,2,3\n\"x\n"                    |
      | "{\"a\": 1}\n{}", true, [[2, "is bad"]]                                 | "{}\r\n"                                                |

  Scenario: What is asked of an import
    Then "queryOf" of "importsession" gives
      | arguments | result |
      | {"match": "id", "charset": "", "columns": [{"heading": "Title", "member": "name"}, {"heading": "price", "known": "price", "member": "price"}, {"heading": "a:b", "member": ""}]} | "column=Title%3Aname&column=a%3Ab%3A" |
      | {"match": "name", "charset": "windows-1252", "columns": [{"heading": "ID", "known": "id", "member": "id"}, {"heading": "name", "known": "name", "member": "name"}]} | "column=ID%3A&match=name&charset=windows-1252" |
      | {"match": "id", "charset": "", "columns": [{"heading": "Price", "known": "price", "member": "price"}, {"heading": "price", "known": "price", "member": ""}, {"heading": "What is wrong", "known": "", "member": ""}]} | "column=What+is+wrong%3A" |

    And "mayApply" of "importsession" gives
      | arguments | result |
      | {"plan": {"create": 1, "update": 0, "faulty": 0, "faults": []}, "headingRow": 1, "isLeavingOut": false} | true |
      | {"plan": {"create": 0, "update": 0, "faulty": 0, "faults": []}, "headingRow": 1, "isLeavingOut": false} | false |
      | {"plan": {"create": 0, "update": 1, "faulty": 1, "faults": [{"row": 2}]}, "headingRow": 1, "isLeavingOut": false} | false |
      | {"plan": {"create": 0, "update": 1, "faulty": 1, "faults": [{"row": 2}]}, "headingRow": 1, "isLeavingOut": true} | true |
      | {"plan": {"create": 0, "update": 1, "faulty": 1, "faults": [{"row": 1}]}, "headingRow": 1, "isLeavingOut": true} | false |

  Scenario: What a plan says
    Then "changedCells" of "importplan" gives
      | arguments | result |
      | {"changes": [{"row": 3, "id": 7, "before": {"name": "a", "price": 2}, "after": {"name": "b", "price": 3}}, {"row": 4, "id": null, "after": {"name": "c"}}]} | [{"row": 3, "id": 7, "member": "price", "before": 2, "after": 3, "share": 0.5}, {"row": 3, "id": 7, "member": "name", "before": "a", "after": "b", "share": null}] |
      | {"changes": [{"row": 3, "id": 7, "before": {"price": 0}, "after": {"price": 3}}]} | [{"row": 3, "id": 7, "member": "price", "before": 0, "after": 3, "share": null}] |
    And "groups" of "importplan" gives
      | arguments | result |
      | [{"row": 2, "column": "price", "value": "x", "detail": "is required"}, {"row": 3, "column": "name", "value": "", "detail": "is required"}, {"row": 4, "column": "price", "value": "", "detail": "is required"}] | [{"column": "price", "detail": "is required", "faults": [{"row": 2, "column": "price", "value": "x", "detail": "is required"}, {"row": 4, "column": "price", "value": "", "detail": "is required"}]}, {"column": "name", "detail": "is required", "faults": [{"row": 3, "column": "name", "value": "", "detail": "is required"}]}] |
    And "namesThere" of "importplan" gives
      | arguments | result |
      | {"changes": [{"row": 2, "id": null, "after": {"name": "a"}}, {"row": 3, "id": null, "after": {"name": "b"}}, {"row": 4, "id": null, "after": {"name": "c"}}, {"row": 5, "id": null, "after": {"name": "d"}}, {"row": 6, "id": null, "after": {"name": "e"}}]}, {"create": 1, "update": 1, "unchanged": 1, "faulty": 2, "changes": [{"row": 2, "id": 9}, {"row": 4, "id": null}], "faults": [{"row": 5, "detail": "several products have this name"}, {"row": 6, "detail": "is in several rows"}]} | {"count": 3, "names": ["a", "b", "d"]} |
    And "differences" of "importplan" gives
      | arguments | result |
      | {"create": 0, "update": 1, "unchanged": 0, "faulty": 0, "faults": [], "changes": [{"row": 2, "id": 7}]}, {"create": 0, "update": 1, "unchanged": 0, "faulty": 0, "faults": [], "changes": [{"row": 2, "id": 7}]} | {"counts": [], "rows": []} |
      | {"create": 0, "update": 1, "unchanged": 0, "faulty": 0, "faults": [], "changes": [{"row": 2, "id": 7}]}, {"create": 0, "update": 0, "unchanged": 1, "faulty": 0, "faults": [], "changes": []} | {"counts": [{"name": "update", "was": 1, "is": 0}, {"name": "unchanged", "was": 0, "is": 1}], "rows": [{"row": 2, "was": {"change": {"row": 2, "id": 7}}, "is": {}}]} |

  Scenario: What the record of changes says
    Then "versions" of "changes" gives
      | arguments | result |
      | [{"op": "update", "before": {"price": 2}}, {"op": "update", "before": {"price": 1, "name": "a"}}, {"op": "create", "before": null}], {"price": 3} | [{"op": "update", "before": {"price": 2}, "cells": [{"member": "price", "before": 2, "after": 3}]}, {"op": "update", "before": {"price": 1, "name": "a"}, "cells": [{"member": "name", "before": "a"}, {"member": "price", "before": 1, "after": 2}]}, {"op": "create", "before": null, "cells": []}] |
      | [{"op": "delete", "before": {"price": 2}}], null | [{"op": "delete", "before": {"price": 2}, "cells": []}] |
    And "writer" of "changes" gives
      | arguments                             | result                     |
      | {"by": "anna", "request_id": "r"}     | "by anna"                  |
      | {"by": null, "request_id": "r"}       | "by somebody unknown"      |
      | {"by": null, "request_id": null}      | "directly in the database" |
    And "absent" of "changes" gives
      | arguments                                                                                    | result                    |
      | [{"id": 1, "change": 9}, {"id": 2, "change": 8}, {"id": 1, "change": 3}], [{"id": 2}, {"id": 7}] | [{"id": 1, "change": 9}] |
    And "moment" of "changes" gives
      | arguments                                            | result               |
      | "2026-11-25T23:30:00.123Z", "en-GB", "Europe/Berlin" | "26 Nov 2026, 00:30" |
      | "2026-11-25T09:30:00.123Z", "de", "Asia/Tokyo"       | "25.11.2026, 18:30"  |
    And "lowestText" of "changes" gives
      | arguments | result |
      | {"price": 24.95, "to": "2026-11-25T23:30:00Z", "complete": true}, "en-GB", "Europe/Berlin" | "Lowest price in the 30 days before 26 Nov 2026: $24.95" |
      | {"price": null, "to": "2026-11-25T23:30:00Z", "complete": false}, "en-GB", "UTC" | "Lowest price in the 30 days before 25 Nov 2026: not on sale (as far as is on record)" |
    And "priced" of "session" gives
      | arguments | result |
      | {"lowest": null}, 3, {"price": 1}           | {"lowest": {"at": 3, "price": 1}} |
      | {"lowest": {"at": 4, "price": 2}}, 3, null  | {"lowest": {"at": 4, "price": 2}} |
      | {"lowest": {"at": 2, "price": 2}}, 3, null  | {"lowest": {"at": 3}}             |
    And "excerpts" of "changes" gives
      | arguments  | result     |
      | "ab", "ac" | ["ab", "ac"] |
      | "", "ac"   | ["", "ac"] |

  Scenario: An earlier state is filled in
    Then "filledWith" of "session" gives
      | arguments | result |
      | {"base": {"price": 1, "category": "a"}, "typed": {"rating": "5"}, "faults": {"rating": "bad"}, "tab": "history"}, {"price": 2, "category": "a"} | {"base": {"price": 1, "category": "a"}, "typed": {"price": "2.00"}, "faults": {}, "tab": "product", "earlier": {"price": 2, "category": "a"}} |
    And "edited" of "session" gives
      | arguments | result |
      | {"base": {"category": "x"}, "typed": {"category": "ab"}, "earlier": {"category": "a\nb"}} | {"category": "a\nb"} |
      | {"base": {"category": "x"}, "typed": {"category": "abc"}, "earlier": {"category": "a\nb"}} | {"category": "abc"} |
      | {"base": {"category": "x"}, "typed": {"category": "ab"}, "earlier": null} | {"category": "ab"} |

  Scenario: Long texts are cut to where they differ
    Then the excerpts of long texts begin with "…" before what differs

  Scenario: What undoing a request would do
    Then "touched" of "undoplan" gives
      | arguments | result |
      | [{"id": 1, "change": 9, "before": {"price": 2}}, {"id": 2, "change": 8, "before": null}, {"id": 1, "change": 7, "before": {"price": 1}}] | [{"id": 1, "last": 9, "before": {"price": 1}}, {"id": 2, "last": 8, "before": null}] |
    And "undoPlan" of "undoplan" gives
      | arguments | result |
      | [{"id": 1, "last": 9, "before": {"price": 1}}, {"id": 2, "last": 8, "before": null}, {"id": 3, "last": 7, "before": {"name": "c"}}], {"1": {"price": 2}, "2": {"name": "b"}}, {"1": 9, "2": 8, "3": 7} | {"rows": [{"id": 1, "product": {"price": 2}, "before": {"price": 2}, "after": {"price": 1}}, {"id": 2, "product": {"name": "b"}, "before": {"name": "b"}, "after": null}, {"id": 3, "product": {"name": "c"}, "before": null, "after": {"name": "c"}}], "others": []} |
      | [{"id": 1, "last": 9, "before": {"price": 1}}, {"id": 2, "last": 8, "before": null}, {"id": 3, "last": 7, "before": {"name": "c"}}], {"1": {"name": "a"}}, {"1": 10, "2": 11, "3": 12} | {"rows": [], "others": [{"id": 1, "name": "a"}, {"id": 2, "name": "Product 2"}, {"id": 3, "name": "c"}]} |
      | [{"id": 1, "last": 9, "before": {"price": 1}}, {"id": 2, "last": 8, "before": null}], {"1": {"price": 1}}, {"1": 9, "2": 8} | {"rows": [], "others": []} |
    And "fate" of "undoplan" gives
      | arguments                    | result         |
      | {"before": {}, "after": null} | "deleted"      |
      | {"before": null, "after": {}} | "brought back" |
      | {"before": {}, "after": {}}   | ""             |

  Scenario: What the feed of changes does
    Then "noticed" of "state" gives
      | arguments | result |
      | {"list": {"rows": [{"id": 1}], "at": 2}, "fresh": [], "leaving": [], "known": {"1": {"product": {"id": 1, "price": 9}, "at": 5}}}, 1, null, null, 4 | {"list": {"rows": [{"id": 1}], "at": 2}, "fresh": [], "leaving": [], "known": {"1": {"product": {"id": 1, "price": 9}, "at": 5}}} |
      | {"list": {"rows": [{"id": 1}], "at": 2}, "fresh": [], "leaving": [], "known": {}, "gone": {}, "arrived": [1, 2], "selected": {"1": {"id": 1}}, "editor": {"id": 7}}, 1, null, null, 4 | {"list": {"rows": [{"id": 1}], "at": 2}, "fresh": [], "leaving": [], "known": {"1": {"product": null, "etag": null, "at": 4}}, "gone": {"1": {"id": 1}}, "arrived": [2], "selected": {"1": {"id": 1}}, "editor": {"id": 7}} |
      | {"list": {"rows": [{"id": 1}], "at": 2}, "fresh": [], "leaving": [], "known": {"1": {"product": null, "at": 3}}, "gone": {"1": {"id": 1}}, "arrived": [], "selected": {"1": {"id": 1}}, "editor": {"id": 7}}, 1, {"id": 1, "price": 3}, null, 4 | {"list": {"rows": [{"id": 1}], "at": 2}, "fresh": [], "leaving": [], "known": {"1": {"product": {"id": 1, "price": 3}, "etag": null, "at": 4}}, "gone": {}, "arrived": [], "selected": {"1": {"id": 1, "price": 3}}, "editor": {"id": 7}} |
    And "learned" of "state" gives
      | arguments | result |
      | {"known": {"1": {"product": {"id": 1}, "etag": "e", "at": 3}}}, 1, {"id": 1}, null, 4 | {"known": {"1": {"product": {"id": 1}, "etag": "e", "at": 4}}} |
      | {"known": {"1": {"product": {"id": 1}, "etag": "e", "at": 3}}}, 1, {"id": 1, "price": 2}, null, 4 | {"known": {"1": {"product": {"id": 1, "price": 2}, "etag": null, "at": 4}}} |
    And "newcomers" of "state" gives
      | arguments | result |
      | {"feed": {"newest": 5}, "fresh": [8], "list": {"rows": [{"id": 9}]}}, [{"id": 4, "product": {}}, {"id": 6, "product": null}, {"id": 7, "product": {}}, {"id": 8, "product": {}}, {"id": 9, "product": {}}] | [7] |
    And "arriving" of "state" gives
      | arguments | result |
      | {"arrived": [6], "feed": {"since": "c", "newest": 6}, "known": {}}, [{"id": 7}, {"id": 8}], 9, 4 | {"arrived": [8, 7, 6], "feed": {"since": "c", "newest": 9}, "known": {"7": {"product": {"id": 7}, "etag": null, "at": 4}, "8": {"product": {"id": 8}, "etag": null, "at": 4}}} |
    And "informed" of "session" gives
      | arguments | result |
      | {"state": "ready", "base": {"price": 1}, "typed": {}}, {"id": 7, "price": 1}, "e" | {"state": "ready", "base": {"price": 1}, "typed": {}} |
      | {"state": "saving", "base": {"price": 1}, "typed": {}}, null, null | {"state": "saving", "base": {"price": 1}, "typed": {}} |
      | {"id": 7, "state": "ready", "base": {"price": 1}, "typed": {"price": "2"}, "news": {"members": ["name"]}}, {"id": 7, "price": 3}, "e" | {"id": 7, "state": "ready", "base": {"price": 1}, "typed": {"price": "2"}, "news": {"members": ["name", "price"], "isMet": true, "isDeleted": false}} |
      | {"id": 7, "state": "ready", "base": {"price": 1}, "typed": {}}, {"id": 7, "price": 3}, "e" | {"id": 7, "state": "ready", "base": {"id": 7, "price": 3}, "typed": {}, "etag": "e", "failure": null, "news": {"members": ["price"], "isMet": false, "isDeleted": false}} |
