Feature: What others do is seen
  The page follows the changes of others while it is visible. Nothing that a person points at moves,
  and nothing that was typed is lost.

  Background:
    Given these products
      | name       | price | category | status   |
      | Copper pot | 49.95 | Kitchen  | active   |
      | Enamel mug | 8.00  | Kitchen  | inactive |
      | Hose       | 24.50 | Garden   | active   |
    And I have the catalogue open

  Scenario: Rows change in place, and new products are told
    When I point at the row of "Hose" and have the focus there
    And I look at another tab
    And a colleague sets the price of "Copper pot" to "45"
    And a colleague deletes "Enamel mug"
    And a colleague adds "Rope"
    And a colleague adds "String"
    And I come back
    Then I see these products
      | name       | price  | status  |
      | Copper pot | $45.00 | Active  |
      | Enamel mug | $8.00  | Deleted |
      | Hose       | $24.50 | Active  |
    And "Show new products" says "2 new products: show"
    And the row of "Hose" has not moved
    And the row of "Hose" has the focus
    And everyone can use the page
    And the statuses are counted "All 4, Active 4, Inactive 0, Disabled 0"
    When I press "Show new products"
    Then I see "Copper pot, Hose, Rope, String"
    And the row of "Rope" is marked as new
    And "Show new products" is not there

  Scenario: On a phone
    Given I use a phone
    When I point at the row of "Hose" and have the focus there
    And I look at another tab
    And a colleague deletes "Enamel mug"
    And a colleague adds "Rope"
    And I come back
    Then "Show new products" says "1 new product: show"
    And the row of "Hose" has not moved
    And everyone can use the page

  Scenario: It takes some seconds, without doing anything
    When a colleague sets the price of "Copper pot" to "45"
    Then I see these products
      | name       | price  |
      | Copper pot | $45.00 |
      | Enamel mug | $8.00  |
      | Hose       | $24.50 |

  Scenario: Only products that match are told
    When I choose the status "Active"
    Then I see "Copper pot, Hose"
    When I look at another tab
    And a colleague adds the inactive "Rope"
    And a colleague sets the price of "Hose" to "20"
    And I come back
    Then I see these products
      | name       | price  |
      | Copper pot | $49.95 |
      | Hose       | $20.00 |
    And "Show new products" is not there
    When I look at another tab
    And a colleague adds "String"
    And I come back
    Then "Show new products" says "1 new product: show"

  Scenario: The product that is open follows, and says so
    When I open "Copper pot"
    Then the editor shows
      | Price |
      | 49.95 |
    When I look at another tab
    And a colleague sets the price of "Copper pot" to "45"
    And I come back
    Then the editor shows
      | Price |
      | 45.00 |
    And the editor tells "This product has been changed meanwhile: price."
    And the lowest price says ": $49.95"
    And everyone can use the page
    When I press "History"
    Then the history has 2 changes
    When I look at another tab
    And a colleague sets the price of "Copper pot" to "40"
    And I come back
    Then the history has 3 changes

  Scenario: What is typed stays, and Save asks
    When I open "Copper pot"
    And I fill in
      | Price | Rating |
      | 39.95 | 5      |
    And I look at another tab
    And a colleague sets the price of "Copper pot" to "45"
    And I come back
    Then the editor tells "price. What you have typed stays: Save asks which to keep."
    And the editor shows
      | Price | Rating |
      | 39.95 | 5      |
    And everyone can use the page
    When I press "Save"
    Then I am asked to choose between
      | member | mine  | theirs |
      | price  | 39.95 | 45.00  |
      | rating | 5     | 0      |
    When I press "Save my choice"
    Then I am told "Product has been updated"
    And the editor tells nothing

  Scenario: What is open is deleted
    When I open "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And I look at another tab
    And a colleague deletes "Copper pot"
    And I come back
    Then the editor tells "has been deleted meanwhile. Save makes a new one"
    And the editor shows
      | Name       | Price |
      | Copper pot | 39.95 |
    When I press "Save"
    Then I am told of "deleted"
    And the editor tells nothing
    When I press "Save"
    Then I am told "Product has been created"

  Scenario: What I do myself is no news
    When I press "New"
    And I fill in
      | Name | Picture                       | Description | Price |
      | Rope | https://img.example.com/3.jpg |             | 5     |
    And I press "Save"
    Then I am told "Product has been created"
    When I fill in
      | Price |
      | 6.00  |
    And I press "Save"
    Then I am told "Product has been updated"
    When I look at another tab
    And a colleague sets the price of "Hose" to "20"
    And I come back
    Then I see these products
      | name       | price  |
      | Copper pot | $49.95 |
      | Enamel mug | $8.00  |
      | Hose       | $20.00 |
      | Rope       | $6.00  |
    And "Show new products" is not there
    And the editor tells nothing

  @slow_network
  Scenario: Nothing is asked for while nobody looks
    When I look at another tab for 12 seconds
    And a colleague sets the price of "Copper pot" to "45"
    Then the changes have not been asked for meanwhile
    When I come back
    Then I see these products
      | name       | price  |
      | Copper pot | $45.00 |
      | Enamel mug | $8.00  |
      | Hose       | $24.50 |

  @slow_network
  Scenario: An answer of the feed that is late takes nothing back
    When a colleague sets the price of "Copper pot" to "45"
    And answers to feeds are held back
    And I look at another tab
    And I come back
    Then an answer to feeds is on its way
    When I open "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    Then I am told "Product has been updated"
    When the answers arrive
    And a colleague sets the price of "Hose" to "20"
    Then I see these products
      | name       | price  |
      | Copper pot | $39.95 |
      | Enamel mug | $8.00  |
      | Hose       | $20.00 |
    And the editor shows
      | Price |
      | 39.95 |

  @own_service
  Scenario: The record is another one: the list is read again
    When I look at another tab
    And the record of changes is another one
    And a colleague adds "Rope"
    And I come back
    Then I see "Copper pot, Enamel mug, Hose, Rope"
    When I look at another tab
    And a colleague sets the price of "Rope" to "5"
    And I come back
    Then I see these products
      | name       | price  |
      | Copper pot | $49.95 |
      | Enamel mug | $8.00  |
      | Hose       | $24.50 |
      | Rope       | $5.00  |
