Feature: Finding products
  Among many products, staff find the ones they need, and can come back to what they found.

  Background:
    Given these products
      | name         | category | price | rating | status   | description              |
      | Copper pot   | Kitchen  | 49.95 | 5      | active   | For jam                  |
      | Enamel mug   | Kitchen  | 8.00  | 3      | inactive | Holds a third of a litre |
      | Garden hose  | Garden   | 24.50 | 4      | active   | Does not kink            |
      | Éclair stand | Café     | 17.25 | 2      | disabled | For ten, of enamel       |
    And I have the catalogue open

  Scenario: The page is up
    Then the title of the page is about "Products"
    And I see these products
      | name         | category | price  | rating | status   |
      | Copper pot   | Kitchen  | $49.95 | 5      | Active   |
      | Enamel mug   | Kitchen  | $8.00  | 3      | Inactive |
      | Garden hose  | Garden   | $24.50 | 4      | Active   |
      | Éclair stand | Café     | $17.25 | 2      | Disabled |
    And 4 products are counted
    And everyone can use the page

  Scenario Outline: Search as one types: <words>
    When I search for "<words>"
    Then I see "<found>"

    Examples:
      | words      | found                    |
      | copper     | Copper pot               |
      | ENAMEL     | Enamel mug, Éclair stand |
      | éCLAIR     | Éclair stand             |
      | holds chen | Enamel mug               |
      | den        | Garden hose              |

  Scenario Outline: Filter by <filter>: <value>
    When I choose "<value>" as "<filter>"
    Then I see "<found>"

    Examples:
      | filter          | value    | found                                |
      | category filter | kitchen  | Copper pot, Enamel mug               |
      | status filter   | Active   | Copper pot, Garden hose              |
      | status filter   | Inactive | Enamel mug                           |
      | status filter   | Disabled | Éclair stand                         |
      | lowest price    | 24.50    | Copper pot, Garden hose              |
      | highest price   | 17.25    | Enamel mug, Éclair stand             |

  Scenario: Filters narrow each other, and a reset takes them all away
    When I choose "10" as "lowest price"
    And I choose "30" as "highest price"
    Then I see "Garden hose, Éclair stand"
    When I choose "Active" as "status filter"
    Then I see "Garden hose"
    And 1 products are counted
    When I press "Reset"
    Then no filter is set

  Scenario: A price filter that is no price is told, and nothing is lost
    When I choose "cheap" as "lowest price"
    Then beside "lowest price" it says "must be a number"
    And "lowest price" is "cheap"

  Scenario Outline: Sort by <column>
    When I sort by <column>
    Then I see "<ascending>"
    When I sort by <column>
    Then I see "<descending>"

    Examples:
      | column   | ascending                                         | descending                                        |
      | name     | Copper pot, Enamel mug, Garden hose, Éclair stand | Éclair stand, Garden hose, Enamel mug, Copper pot |
      | price    | Enamel mug, Éclair stand, Garden hose, Copper pot | Copper pot, Garden hose, Éclair stand, Enamel mug |
      | rating   | Éclair stand, Enamel mug, Garden hose, Copper pot | Copper pot, Garden hose, Enamel mug, Éclair stand |
      | category | Éclair stand, Garden hose, Copper pot, Enamel mug | Copper pot, Enamel mug, Garden hose, Éclair stand |

  Scenario: Nothing is found
    When I search for "zither"
    Then no product is seen
    And 0 products are counted
    And everyone can use the page

  Scenario: Back leads to what was found before
    When I search for "kitchen"
    Then I see "Copper pot, Enamel mug"
    When I choose "Inactive" as "status filter"
    Then I see "Enamel mug"
    When I go back
    Then I see "Copper pot, Enamel mug"
    And "status filter" is "Any"

  Scenario: A view can be bookmarked
    When I choose "Active" as "status filter"
    And I sort by price
    Then I see "Garden hose, Copper pot"
    When I open the same address in a new window
    Then I see "Garden hose, Copper pot"
    And "status filter" is "Active"
