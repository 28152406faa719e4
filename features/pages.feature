Feature: Paging
  A long list comes in pages, forth and back.

  Background:
    Given 60 products called "Mug" and a number
    And I have the catalogue open
    And I have chosen "25" as "page size"

  Scenario: Forth and back
    Then I see the products "Mug 01" to "Mug 25"
    And 60 products are counted
    When I press "Next page"
    Then I see the products "Mug 26" to "Mug 50"
    When I press "Next page"
    Then I see the products "Mug 51" to "Mug 60"
    And "Next page" cannot be pressed
    When I press "Previous page"
    Then I see the products "Mug 26" to "Mug 50"
    When I go back
    Then I see the products "Mug 51" to "Mug 60"
    When I press "First page"
    Then I see the products "Mug 01" to "Mug 25"

  Scenario: A search begins at its first page
    When I press "Next page"
    Then I see the products "Mug 26" to "Mug 50"
    When I search for "mug 5"
    Then I see "Mug 05, Mug 15, Mug 25, Mug 35, Mug 45, Mug 50, Mug 51, Mug 52, Mug 53, Mug 54, Mug 55, Mug 56, Mug 57, Mug 58, Mug 59"
