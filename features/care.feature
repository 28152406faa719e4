Feature: With care
  The page keeps what is stored as it is, does what was meant, and says how things are.

  Scenario: Only what was touched is sent
    Given a product "Rope" with the description "a\r\nb" and the category "one\ntwo"
    And I have the catalogue open
    When I open "Rope"
    Then I may leave the page
    When I fill in
      | Price |
      | 12.50 |
    And I press "Save"
    Then I am told "Product has been updated"
    And I may leave the page
    And the product "Rope" has the description "a\r\nb" and the category "one\ntwo"

  Scenario Outline: A category is filtered by as it is stored: <category>
    Given a product "Rope" with the description "long" and the category "<category>"
    And a product "Hose" with the description "long" and the category "other"
    And I have the catalogue open
    When I press "Categories"
    And I choose the category that is shown as "<shown>"
    Then I see "Rope"

    Examples:
      | category | shown  |
      | blanks\s\s | blanks |
      | one\ntwo | one    |

  Scenario Outline: Ctrl and S save, whatever the keyboard: <key>
    Given these products
      | name       | price |
      | Copper pot | 49.95 |
    And I have the catalogue open
    When I open "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And the key "<key>" of code "<code>" is pressed with Ctrl
    Then I am told "Product has been updated"

    Examples:
      | key | code |
      | s   | KeyS |
      | S   | KeyS |
      | ы   | KeyS |
      | σ   | KeyS |

  Scenario: Ctrl and S on the list alone save nothing
    Given I use a phone
    And I have the catalogue open
    When the key "s" of code "KeyS" is pressed with Ctrl
    Then I am told nothing

  Scenario: Keys that compose a word do not jump or close
    Given I use a phone
    And these products
      | name       |
      | Copper pot |
    And I have the catalogue open
    When the key "ArrowDown" is pressed in the search box while composing
    Then the search box has the focus
    When I open "Copper pot"
    And the key "Escape" is pressed in "Name" while composing
    Then "Close" is there

  Scenario: Bring back asks before it takes the place of newer text
    Given I have the catalogue open
    When I fill in
      | Name       |
      | Copper pot |
    And I press "Clear"
    And I fill in
      | Name       |
      | Enamel mug |
    And I press "Bring back"
    And I press "No"
    Then the editor shows
      | Name       |
      | Enamel mug |

  Scenario: A success is no longer told when something else is typed
    Given these products
      | name       | price |
      | Copper pot | 49.95 |
    And I have the catalogue open
    When I open "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    Then I am told "Product has been updated"
    When I fill in
      | Price |
      | 38.95 |
    Then I am told nothing

  Scenario: Back asks about unsaved changes, and forward is still there
    Given these products
      | name       |
      | Copper pot |
      | Enamel mug |
    And I have the catalogue open
    When I open "Copper pot"
    And I open "Enamel mug"
    And I fill in
      | Name      |
      | Steel mug |
    And I go back
    And I press "No"
    Then the editor shows
      | Name      |
      | Steel mug |
    And the address has the product "Enamel mug"
    When I go back
    And I press "Yes"
    Then the editor shows
      | Name       |
      | Copper pot |
    When I go forward
    Then the editor shows
      | Name       |
      | Enamel mug |

  Scenario: On a phone Back does not open again what was closed
    Given I use a phone
    And these products
      | name       |
      | Copper pot |
    And I have the catalogue open
    When I search for "copper"
    And I open "Copper pot"
    And I press "Close"
    Then I see "Copper pot"
    When I go back
    Then I see "Copper pot"
    And "Close" is not there

  Scenario: A long category leaves the name its place
    Given a product "Copper kettle that whistles a tune" with the description "" and the category "Everything for the kitchen, the dining room and the garden house"
    And I have the catalogue open
    Then the name has at least 40 % of the width
    And the category has its whole text as a tooltip

  Scenario Outline: A price filter is read as people write it: <written>
    Given these products
      | name       | price |
      | Copper pot | 49.95 |
      | Enamel mug | 8.00  |
    And I have the catalogue open
    When I choose "<written>" as "lowest price"
    Then I see "Copper pot"

    Examples:
      | written |
      | 12,50   |
      | $12.50  |
      | 12.     |

  Scenario: A faulty filter keeps the list, and can be seen
    Given these products
      | name       |
      | Copper pot |
    And I use a phone
    And I have the catalogue open
    When I press "Filters"
    And I choose "cheap" as "lowest price"
    Then beside "lowest price" it says "must be a number"
    And I see "Copper pot"
    When the page is opened with a lowest price of "cheap"
    Then beside "lowest price" it says "must be a number"

  Scenario: A new product is seen and marked, whatever is listed
    Given these products
      | name       |
      | Copper pot |
    And I have the catalogue open
    When I search for "copper"
    Then I see "Copper pot"
    When I fill in
      | Name       | Picture                       | Price |
      | Enamel mug | https://img.example.com/2.jpg | 8     |
    And I press "Save"
    Then I am told "Product has been created"
    And I see "Enamel mug, Copper pot"
    And the row of "Enamel mug" is marked as new
    And the title of the page is about "Enamel mug"

  Scenario: Nothing is left of what held the place of the list
    Given these products
      | name       |
      | Copper pot |
    And I have the catalogue open
    Then I see "Copper pot"
    And nothing holds the place of a product

  Scenario: The number of rows in the address is shown
    Given I have the catalogue open with 7 rows
    Then "page size" is "7"

  Scenario: A picture that is missing does not look like none
    Given I have the catalogue open
    Then no picture is given
    When I fill in
      | Picture                   |
      | data:image/png;base64,AAA |
    Then a placeholder is seen for the picture
    And it does not look like no picture

  Scenario: A delete waits for the next step, and leaving asks
    Given these products
      | name       | price |
      | Copper pot | 49.95 |
      | Enamel mug | 8.00  |
    And I have the catalogue open
    When I open "Enamel mug"
    And I press "Delete"
    And I press "Yes"
    Then I am warned when I leave the page
    And "Undo" has the focus
    When I open "Copper pot"
    Then I am told "Product has been deleted"
    And the catalogue has
      | name       | price |
      | Copper pot | 49.95 |

  Scenario: A delete that waits is carried out when the page is left
    Given these products
      | name       |
      | Copper pot |
    And I have the catalogue open
    When I open "Copper pot"
    And I press "Delete"
    And I press "Yes"
    Then "Undo" has the focus
    When I leave the page
    Then the catalogue is empty

  @own_service
  Scenario: A token with what cannot be seen, and one that nobody can type
    Given these products
      | name       | price |
      | Copper pot | 49.95 |
    And I have the catalogue open
    And only holders of a token may write
    When I open "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    Then I am asked for a token
    When I give a token with a letter that no token has
    Then I am told that it is wrong
    When I give the token with what cannot be seen around it
    Then I am told "Product has been updated"
    When I press "Token"
    Then everyone can use the page
    When I press "Forget token"
    Then "Token" is not there

  @own_service
  Scenario: Who may not delete is told at once
    Given these products
      | name       |
      | Copper pot |
    And I have the catalogue open
    And only holders of a token may write
    When I open "Copper pot"
    And I press "Delete"
    And I press "Yes"
    Then I am asked for a token
    When I press the key Escape
    Then I am told of "Nothing is changed without a token"
    And I see "Copper pot"
