Feature: The history of a product
  Who has changed what, and what it was before; nothing that is restored is saved unasked.

  Background:
    Given these products
      | name       | price | category | rating |
      | Copper pot | 49.95 | Kitchen  | 3      |
      | Enamel mug | 8.00  | Café     | 4      |
    And I have the catalogue open

  @own_service
  Scenario: Who has changed what, the newest first
    Given a colleague has set the price of "Copper pot" to "45"
    And a colleague has set the category of "Copper pot" to ""
    When I change the rating in the database of "Copper pot" to 5
    And I open "Copper pot"
    And I press "History"
    Then the history says
      | change                           | members                 |
      | Changed directly in the database | Rating 3 → 5            |
      | Changed by somebody unknown      | Category Kitchen → none |
      | Changed by somebody unknown      | Price $49.95 → $45.00   |
      | Created by somebody unknown      |                         |
    And everyone can use the page

  Scenario: An earlier state fills the editor, and is saved when I say so
    When I open "Copper pot"
    And I fill in
      | Price | Category |
      | 39.95 | Jam      |
    And I press "Save"
    Then I am told "Product has been updated"
    When I press "History"
    And I restore what was before "Price $49.95 → $39.95"
    Then the editor shows
      | Price | Category | Rating |
      | 49.95 | Kitchen  | 3      |
    And I am warned when I leave the page
    And everyone can use the page
    And the catalogue has
      | name       | price | category |
      | Copper pot | 39.95 | Jam      |
      | Enamel mug | 8.00  | Café     |
    When I press "Save"
    Then I am told "Product has been updated"
    And the catalogue has
      | name       | price | category |
      | Copper pot | 49.95 | Kitchen  |
      | Enamel mug | 8.00  | Café     |

  Scenario: Restoring asks before it discards what was typed
    Given a colleague has set the price of "Copper pot" to "45"
    When I open "Copper pot"
    And I fill in
      | Rating |
      | 5      |
    And I press "History"
    And I restore what was before "Price $49.95 → $45.00"
    And I press "No"
    And I press "Product tab"
    Then the editor shows
      | Price | Rating |
      | 45.00 | 5      |
    When I press "History"
    And I restore what was before "Price $49.95 → $45.00"
    And I press "Yes"
    Then the editor shows
      | Price | Rating |
      | 49.95 | 3      |

  Scenario: What is restored is saved exactly as it was
    Given a product "Kettle" with the description "a\r\nb" and the category " Tea\r\nroom\s"
    And I have the catalogue open
    And a colleague has set the category of "Kettle" to "Tea"
    When I open "Kettle"
    And I press "History"
    And I restore what was before "Tea"
    And I press "Save"
    Then I am told "Product has been updated"
    And the product "Kettle" has the description "a\r\nb" and the category " Tea\r\nroom\s"

  Scenario: A long history comes in pages
    Given a colleague has changed the rating of "Copper pot" 45 times
    When I open "Copper pot"
    And I press "History"
    Then the history has 20 changes
    When I press "Show older changes"
    Then the history has 40 changes
    When I press "Show older changes"
    Then the history has 46 changes
    And "Show older changes" is not there
    And "History" has the focus

  Scenario: The history by keyboard alone
    When I open "Enamel mug"
    And I go to "Product tab" by keyboard and press Arrow_Right
    Then "History" has the focus
    And the history has 1 changes
    When I press the key Arrow_Left
    Then "Product tab" has the focus
    And the editor shows
      | Name       |
      | Enamel mug |

  Scenario: On a phone
    Given I use a phone
    And a colleague has set the price of "Copper pot" to "45"
    When I open "Copper pot"
    And I press "History"
    Then the history has 2 changes
    And everyone can use the page

  Scenario: The lowest price of 30 days is beside the price
    Given a colleague has set the price of "Copper pot" to "80"
    And a colleague has set the price of "Copper pot" to "100"
    When I open "Copper pot"
    Then the lowest price says ": $49.95"
    When I fill in
      | Price |
      | 90.00 |
    And I press "Save"
    Then I am told "Product has been updated"
    And the lowest price says ": $49.95"
    When I press "New"
    Then the lowest price says ""

  Scenario: The lowest price of what was not on sale
    Given these products
      | name   | price | status   |
      | Kettle | 10    | inactive |
    And I have the catalogue open
    When I open "Kettle"
    Then the lowest price says ": not on sale"
    And everyone can use the page
    When I fill in
      | Status | Price |
      | Active | 12    |
    And I press "Save"
    Then the lowest price says ": $12.00"

  @own_service
  Scenario: The lowest price says where the record does not reach
    When the record of "Copper pot" begins today
    And I open "Copper pot"
    Then the lowest price says "(as far as is on record)"

  @slow_network
  Scenario: A late history belongs to the product that it was asked for
    Given answers to histories are held back
    When I open "Copper pot"
    And I press "History"
    Then an answer to histories is on its way
    When I open "Enamel mug"
    And the answers arrive
    And I press "History"
    Then the history has 1 changes
    When I press "Product tab"
    And the answer to the next of the histories is lost
    And I press "History"
    Then the history cannot be shown: "cannot be reached"
    And everyone can use the page
    When I press "Try the history again"
    Then the history has 1 changes

  @own_service
  Scenario: The history needs the token
    Given only holders of a token may write
    And I have the catalogue open
    When I open "Copper pot"
    And I press "History"
    Then I am asked for a token
    When I press the key Escape
    Then the history cannot be shown: "holders of a token"
    And everyone can use the page
    When I press "Try the history again"
    And I give the token
    Then the history has 1 changes
    When I press "Product tab"
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    Then I am told "Product has been updated"
    When I press "History"
    Then the history says
      | change                      | members               |
      | Changed by staff            | Price $49.95 → $39.95 |
      | Created by somebody unknown |                       |
