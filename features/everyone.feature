Feature: For everyone
  The page is used by keyboard alone, on a phone, in the dark, enlarged and by ear.

  Scenario: Keyboard alone, from a new product to its deletion
    Given I have the catalogue open
    When I go to "New" by keyboard and press Enter
    And I type
      | Name       | Price | Picture                           | Description |
      | Copper pot | 49.95 | https://img.example.com/pot-1.jpg |             |
    And I go to "Save" by keyboard and press Enter
    Then I am told "Product has been created"
    And I see "Copper pot"
    When I go to the row of "Copper pot" by keyboard and press Enter
    And I type
      | Price |
      | 39.95 |
    And I go to "Save" by keyboard and press Space
    Then I am told "Product has been updated"
    When I go to "Delete" by keyboard and press Enter
    And I go to "Yes" by keyboard and press Enter
    Then no product is seen
    When I go to "Undo" by keyboard and press Enter
    Then I see "Copper pot"
    And the catalogue has
      | name       | price |
      | Copper pot | 39.95 |

  Scenario: Search, sort and select by keyboard alone
    Given these products
      | name       | price | status |
      | Copper pot | 49.95 | active |
      | Enamel mug | 8.00  | active |
    And I have the catalogue open
    When I go to the heading of price by keyboard and press Enter
    Then I see "Enamel mug, Copper pot"
    When I go to "Select all" by keyboard and press Space
    And I go to "Set status" by keyboard and press Enter
    Then everyone can use the page
    When I go to "Apply" by keyboard and press Enter
    Then I am told "2 products have been updated"
    And the catalogue has
      | name       | status   |
      | Copper pot | inactive |
      | Enamel mug | inactive |

  Scenario: Escape leaves a question without an answer
    Given these products
      | name       |
      | Copper pot |
    And I have the catalogue open
    When I open "Copper pot"
    And I press "Delete"
    And I press the key Escape
    Then I see "Copper pot"
    And "Delete" has the focus

  Scenario: On a phone
    Given I use a phone
    And these products
      | name       | price | category |
      | Copper pot | 49.95 | Kitchen  |
      | Enamel mug | 8.00  | Café     |
    And I have the catalogue open
    Then everyone can use the page
    When I press "Filters"
    And I choose "Price, low to high" as "order"
    Then I see "Enamel mug, Copper pot"
    When I open "Enamel mug"
    Then everyone can use the page
    When I fill in
      | Price |
      | 9.00  |
    And I press "Save"
    Then I am told "Product has been updated"
    And the catalogue has
      | name       | price |
      | Copper pot | 49.95 |
      | Enamel mug | 9.00  |
    When I press "Close"
    Then I see "Enamel mug, Copper pot"

  Scenario: A message is announced
    Given I have the catalogue open
    When I press "Save"
    Then what I am told is announced
