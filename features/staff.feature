Feature: What staff do all day

  Background:
    Given these products
      | name       | price | category | status   | rating |
      | Copper pot | 49.95 | Kitchen  | active   | 5      |
      | Enamel mug | 8.00  | Kitchen  | inactive | 3      |
      | Hose       | 24.50 | Garden   | active   | 4      |
    And I have the catalogue open

  Scenario: Change the price and the status in the row
    When I change the price of "Copper pot" in its row
    Then everyone can use the page
    When I type "39,95" and press Enter
    Then I am told of "Copper pot"
    When I change the status of "Hose" in its row
    And I choose "Disabled" as "value in the row"
    And in the row I press Enter
    Then I see these products
      | name       | price  | status   |
      | Copper pot | $39.95 | Active   |
      | Enamel mug | $8.00  | Inactive |
      | Hose       | $24.50 | Disabled |
    When I change the price of "Hose" in its row
    And I type "1" and press Escape
    Then the catalogue has
      | name       | price | status   |
      | Copper pot | 39.95 | active   |
      | Enamel mug | 8.00  | inactive |
      | Hose       | 24.50 | disabled |

  Scenario: Somebody else has changed the price in the row
    When I change the price of "Copper pot" in its row
    And a colleague sets the price of "Copper pot" to "45"
    And I type "39.95" and press Enter
    Then in the row it says "Somebody else has set 45.00"
    And the catalogue has
      | name       | price |
      | Copper pot | 45.00 |
      | Enamel mug | 8.00  |
      | Hose       | 24.50 |
    When in the row I press Enter
    Then I see these products
      | name       | price  |
      | Copper pot | $39.95 |
      | Enamel mug | $8.00  |
      | Hose       | $24.50 |

  Scenario: Duplicate, save and new
    When I open "Copper pot"
    And I press "Duplicate"
    Then I am warned when I leave the page
    When I fill in
      | Name    |
      | Tin pot |
    And I press "Save and new"
    Then I am told "Product has been created"
    And the editor is empty
    And I may leave the page
    And the catalogue has
      | name       | price | category | rating |
      | Copper pot | 49.95 | Kitchen  | 5      |
      | Enamel mug | 8.00  | Kitchen  | 3      |
      | Hose       | 24.50 | Garden   | 4      |
      | Tin pot    | 49.95 | Kitchen  | 5      |

  Scenario: Statuses and categories with their counts
    Then the statuses are counted "All 3, Active 2, Inactive 1, Disabled 0"
    When I press "Categories"
    Then the categories are counted "Kitchen 2, Garden 1"
    And everyone can use the page
    When I choose the category "Kitchen"
    Then I see "Copper pot, Enamel mug"
    And the statuses are counted "All 2, Active 1, Inactive 1, Disabled 0"
    When I choose the status "Inactive"
    Then I see "Enamel mug"
    When I press "Categories"
    And I choose the category "All categories"
    And I choose the status "All"
    And I choose "4" as "lowest rating"
    Then I see "Copper pot, Hose"

  Scenario: Change prices, look at them first, and put them back
    When I press "Select all"
    And I press "Set price"
    And I choose "Up" as "direction"
    And I choose "10" as "by"
    And I choose ".99 ending" as "ending"
    Then the preview says
      | product    | old    | new    |
      | Copper pot | $49.95 | $54.99 |
      | Enamel mug | $8.00  | $8.99  |
      | Hose       | $24.50 | $26.99 |
    And everyone can use the page
    When I press "Apply"
    Then I am told "3 products have been updated"
    And the catalogue has
      | name       | price |
      | Copper pot | 54.99 |
      | Enamel mug | 8.99  |
      | Hose       | 26.99 |
    When I press "Details"
    Then the result says "Enamel mug $8.00 → $8.99"
    And everyone can use the page
    When I press "Close summary"
    And I open "Hose"
    And I press "Select all"
    And I press "Set category"
    And I choose "Sale" as "new category"
    And I press "Apply"
    Then I am told "3 products have been updated"
    When I press "Undo"
    Then I am told "3 products have been put back"
    And the catalogue has
      | name       | price | category |
      | Copper pot | 54.99 | Kitchen  |
      | Enamel mug | 8.99  | Kitchen  |
      | Hose       | 26.99 | Garden   |

  Scenario: A price that would be below zero is left out
    When I press "Select all"
    And I press "Set price"
    And I choose "Down" as "direction"
    And I choose "$" as "unit"
    And I choose "10" as "by"
    Then the preview says
      | product    | old    | new                       |
      | Copper pot | $49.95 | $39.95                    |
      | Enamel mug | $8.00  | -$2.00 must be at least 0 |
      | Hose       | $24.50 | $14.50                    |
    When I press "Apply"
    Then the summary names "Enamel mug" alone
    And the catalogue has
      | name       | price |
      | Copper pot | 39.95 |
      | Enamel mug | 8.00  |
      | Hose       | 14.50 |

  Scenario: Select all that match, not only this page
    Given 30 products called "Mug" and a number
    And I have the catalogue open
    When I press "Select all"
    And I press "Select all that match"
    Then 33 are selected
    When I press "Set status"
    And I choose "Disabled" as "new status"
    And I press "Apply"
    Then I am told "33 products have been updated"
    And the statuses are counted "All 33, Active 0, Inactive 0, Disabled 33"

  Scenario: A number finds the product of that id
    When I search for the id of "Hose"
    Then I am offered "Hose"
    When I press the offer
    Then the editor shows
      | Name |
      | Hose |

  Scenario: A view is kept under a name
    When I choose the status "Active"
    And I press "Saved views"
    And I choose "On sale" as "name of the view"
    And I press "Save this view"
    Then everyone can use the page
    When I choose the status "All"
    Then I see "Copper pot, Enamel mug, Hose"
    When I press "Saved views"
    And I follow "On sale"
    Then I see "Copper pot, Hose"

  Scenario: A row is a link, and its picture can be seen large
    Then the row of "Hose" is a link to it
    When I look at the picture of "Hose"
    Then everyone can use the page
    When I press "Close picture"
    Then the row of "Hose" is a link to it

  Scenario: The newest is first
    When I open the page as it is
    Then the first product is "Hose"
