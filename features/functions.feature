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
      | {"id": 7, "typed": {"name": "b", "price": "2"}}, {"id": 7, "name": "a"}, "e", {"name": "a", "price": "2"} | {"id": 7, "typed": {"name": "b"}, "base": {"id": 7, "name": "a"}, "etag": "e", "state": "ready", "failure": null, "faults": {}, "isCopy": false, "key": null} |
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
