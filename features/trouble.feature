@own_service
Feature: When things go wrong
  The page says what is wrong, loses nothing, and goes on when the service does.

  Background:
    Given these products
      | name       | price |
      | Copper pot | 49.95 |
    And I have the catalogue open

  Scenario: The service goes down while I type, and comes back
    When I open "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And the service goes down
    And I press "Save"
    Then I am told of "cannot be reached"
    And the editor shows
      | Name       | Price |
      | Copper pot | 39.95 |
    And everyone can use the page
    When the service is back
    And I press "Try again"
    Then I am told "Product has been updated"
    And the catalogue has
      | name       | price |
      | Copper pot | 39.95 |

  Scenario: The list cannot be had, and then it can
    When the service goes down
    And I search for "copper"
    Then the list says that it failed
    And everyone can use the page
    When the service is back
    And I press "Try again"
    Then I see "Copper pot"

  Scenario: The database is lost, and found
    When I fill in
      | Name       | Picture                       | Price | Description |
      | Enamel mug | https://img.example.com/2.jpg | 8     |             |
    And the database is lost
    And I press "Save"
    Then I am told of "The database has no tables: run"
    And the editor shows
      | Name       | Price |
      | Enamel mug | 8     |
    When I search for "mug"
    Then the list says that it failed
    When the database is back
    And I press "Save"
    Then I am told "Product has been created"

  Scenario: The service is slow
    When the service hangs
    And I search for "copper"
    Then the list says that it loads
    And everyone can use the page
    When the service goes on
    Then I see "Copper pot"

  Scenario: A token is asked for once
    Given only holders of a token may write
    When I open "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    Then I am asked for a token
    And everyone can use the page
    When I give a token that nobody has
    Then I am told that it is wrong
    When I give the token
    Then I am told "Product has been updated"
    When I fill in
      | Price |
      | 38.95 |
    And I press "Save"
    Then I am told "Product has been updated"
    And the catalogue has
      | name       | price |
      | Copper pot | 38.95 |
    When I open the same address in a new window
    And I open "Copper pot"
    And I fill in
      | Price |
      | 37.95 |
    And I press "Save"
    Then I am asked for a token
